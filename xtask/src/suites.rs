//! Installs the external suites and peers below `target/suites`, once, and what they run on.

use std::path::{Path, PathBuf};

use crate::project;
use crate::shell::{Cmd, Failure, Outcome, which};

/// The peers from PyPI.
const PYTHON: &[&str] = &[
    "websockets==17.*",
    "curl_cffi==0.16.*",
    "h2==4.*",
    "hypercorn==0.18.*",
    "centrifuge-python==0.7.*",
];
/// The peers from npm, and the driver of the browser.
const NODE: &[&str] = &["ws@8", "undici@7", "playwright-core@1", "centrifuge@5.8"];
/// The low-code server from npm, which brings 240 packages.
const NODE_RED: &[&str] = &["node-red@4"];
/// The Autobahn TestSuite, which needs Python 2, and the last virtualenv that can make a home for
/// it.
const AUTOBAHN: &[&str] = &["autobahntestsuite==25.10.1"];
const VIRTUALENV: &str = "virtualenv<20.22";
/// The suite's own image, for where there is no Python 2.
const AUTOBAHN_IMAGE: &str = "crossbario/autobahn-testsuite";

/// A Python with the peers from PyPI.
pub(crate) fn python() -> Outcome<PathBuf> {
    let home = project::suites().join("python");
    let python = home.join("bin/python");
    once(&home, PYTHON, || {
        venv(&home)?;
        Cmd::program(&python).args("-m pip install --quiet".split(' ')).args(PYTHON).run()
    })?;
    Ok(python)
}

/// A folder whose `node_modules` holds the packages from npm.
pub(crate) fn node() -> Outcome<PathBuf> {
    npm("node", NODE)
}

/// A folder whose `node_modules` holds Node-RED.
pub(crate) fn node_red() -> Outcome<PathBuf> {
    npm("node-red", NODE_RED)
}

fn npm(folder: &str, packages: &[&str]) -> Outcome<PathBuf> {
    need("node", "nodejs")?;
    need("npm", "npm")?;
    let home = project::suites().join(folder);
    once(&home, packages, || {
        project::write(&home.join("package.json"), "{ \"private\": true }\n")?;
        Cmd::new("npm install --silent --no-audit --no-fund --ignore-scripts --prefix")
            .arg(&home)
            .args(packages)
            .run()
    })?;
    Ok(home)
}

/// The start of a command line that runs Autobahn's Python: a program and its first arguments.
pub(crate) fn autobahn() -> Outcome<Vec<String>> {
    let home = project::suites().join("autobahn");
    let python = home.join("bin/python");
    let command = vec![python.to_string_lossy().into_owned()];
    let Some(python2) = python2() else {
        if let Some(command) = autobahn_image() {
            return Ok(command);
        }
        return Err(Failure::Missing(
            "the Autobahn TestSuite needs CPython 2.7 (with pyenv: `pyenv install 2.7.18`) or a \
             container engine"
                .to_owned(),
        ));
    };
    once(&home, AUTOBAHN, || {
        let helper = project::suites().join("virtualenv");
        venv(&helper)?;
        Cmd::program(helper.join("bin/pip")).args(["install", "--quiet", VIRTUALENV]).run()?;
        Cmd::program(helper.join("bin/virtualenv"))
            .args(["--quiet", "--python"])
            .arg(&python2)
            .arg(&home)
            .run()?;
        Cmd::program(&python).args("-m pip install --quiet".split(' ')).args(AUTOBAHN).run()
    })?;
    Ok(command)
}

/// CPython 2.7: on the path, or a version of pyenv.
fn python2() -> Option<PathBuf> {
    if which("pyenv").is_some() {
        let versions = Cmd::new("pyenv versions --bare").output().unwrap_or_default();
        if let Some(version) = versions.lines().map(str::trim).find(|v| v.starts_with("2.7")) {
            let prefix = Cmd::new("pyenv prefix").arg(version).output().ok()?;
            return Some(Path::new(prefix.trim()).join("bin/python"));
        }
    }
    which("python2.7")
}

/// Autobahn's image with the project and the target directory in their usual places.
fn autobahn_image() -> Option<Vec<String>> {
    let engine = ["docker", "podman"].into_iter().find(|engine| {
        which(engine).is_some() && Cmd::new(&format!("{engine} info")).limit(20).output().is_ok()
    })?;
    let root = std::env::current_dir().ok()?;
    let (root, target) = (root.display(), project::target());
    let target = target.display();
    let line = format!(
        "{engine} run --rm --init --network=host --volume={root}:{root} --volume={target}:{target} \
         --workdir={root} --entrypoint=pypy {AUTOBAHN_IMAGE}"
    );
    Some(line.split_whitespace().map(str::to_owned).collect())
}

/// A certificate for `localhost` and 127.0.0.1, its key, and the authority that vouches for it.
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
}

impl Certificate {
    /// A file with both the certificate and its key, as HAProxy wants it.
    pub(crate) fn with_key(&self) -> Outcome<PathBuf> {
        let both = self.cert.with_file_name("both.pem");
        project::write(&both, &(project::read(&self.cert)? + &project::read(&self.key)?))?;
        Ok(both)
    }
}

pub(crate) fn certificate() -> Outcome<Certificate> {
    let home = project::suites().join("certificate");
    let file = |name: &str| home.join(name);
    once(&home, &["P-256", "localhost, 127.0.0.1"], || {
        need("openssl", "openssl")?;
        let extensions = "basicConstraints = CA:FALSE\nextendedKeyUsage = serverAuth\n\
                          subjectAltName = DNS:localhost, IP:127.0.0.1\n";
        project::write(&file("extensions"), extensions)?;
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout";
        Cmd::new(&format!("openssl req -x509 -days 3650 -subj /CN=tautline-test-authority {key}"))
            .arg(file("ca.key"))
            .arg("-out")
            .arg(file("ca.pem"))
            .run()?;
        Cmd::new(&format!("openssl req -subj /CN=localhost {key}"))
            .arg(file("server.key"))
            .arg("-out")
            .arg(file("server.csr"))
            .run()?;
        Cmd::new("openssl x509 -req -days 3650 -CAcreateserial -in")
            .arg(file("server.csr"))
            .arg("-CA")
            .arg(file("ca.pem"))
            .arg("-CAkey")
            .arg(file("ca.key"))
            .arg("-extfile")
            .arg(file("extensions"))
            .arg("-out")
            .arg(file("server.pem"))
            .run()
    })?;
    Ok(Certificate { cert: file("server.pem"), key: file("server.key"), ca: file("ca.pem") })
}

/// A Chromium or Chrome of the system; Debian's is installed where there is none.
pub(crate) fn chromium() -> Outcome<PathBuf> {
    if let Some(path) = std::env::var_os("CHROMIUM") {
        return Ok(path.into());
    }
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    if let Some(path) = names.into_iter().find_map(which) {
        return Ok(path);
    }
    need("chromium", "chromium")
}

/// A Firefox of the system, and the tool that has it trust an authority; Debian's are installed where
/// there are none.
pub(crate) fn firefox() -> Outcome<PathBuf> {
    need("certutil", "libnss3-tools")?;
    if let Some(path) = std::env::var_os("FIREFOX") {
        return Ok(path.into());
    }
    match ["firefox-esr", "firefox"].into_iter().find_map(which) {
        Some(path) => Ok(path),
        None => need("firefox-esr", "firefox-esr"),
    }
}

/// A virtual environment of the system's Python 3.
fn venv(home: &Path) -> Outcome {
    need("python3", "python3")?;
    let make = || Cmd::new("python3 -m venv --clear").arg(home).run();
    make().or_else(|_| {
        apt("python3-venv")?; // Debian's python3 comes without it
        make()
    })
}

/// Installs into `home` unless a file there says that just this was installed.
fn once(home: &Path, what: &[&str], install: impl FnOnce() -> Outcome) -> Outcome {
    let marker = home.join("installed");
    let what = what.join("\n");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == what) {
        return Ok(());
    }
    if home.exists() {
        std::fs::remove_dir_all(home).map_err(|error| {
            Failure::Failed(format!("cannot clear {}: {error}", home.display()))
        })?;
    }
    project::create_dir(home)?;
    install()?;
    project::write(&marker, &what)
}

/// A program that must be there; Debian's package is installed where that is possible.
pub(crate) fn need(program: &str, package: &str) -> Outcome<PathBuf> {
    if let Some(path) = which(program) {
        return Ok(path);
    }
    apt(package)?;
    which(program).ok_or_else(|| Failure::Missing(format!("there is no {program}")))
}

/// A file of a package of Debian's, which is installed where that is possible.
pub(crate) fn need_file(path: &str, package: &str) -> Outcome {
    if Path::new(path).exists() { Ok(()) } else { apt(package) }
}

/// Installs a package of Debian's, as root.
fn apt(package: &str) -> Outcome {
    let missing = || Failure::Missing(format!("{package} is not installed"));
    let root = Cmd::new("id -u").output().is_ok_and(|id| id.trim() == "0");
    if !root || which("apt-get").is_none() {
        return Err(missing());
    }
    Cmd::new("apt-get update -qq").run().map_err(|_| missing())?;
    Cmd::new("apt-get install -y -qq --no-install-recommends")
        .arg(package)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1") // packages of servers do not start them
        .run()
        .map_err(|_| missing())
}
