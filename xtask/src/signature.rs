//! Items of rustdoc's JSON as Rust writes them, each in one line: what a user relies on, and
//! nothing that is private, such as bodies, values of constants, private fields, or how the crate
//! imports the names that it uses.

use serde_json::Value;

/// The documentation of a crate, as rustdoc writes it in JSON.
pub(crate) struct Docs(pub(crate) Value);

/// The kind of something of several kinds, and what is in it.
pub(crate) fn kind_of(value: &Value) -> (&str, &Value) {
    match value.as_object().and_then(|object| object.iter().next()) {
        Some((kind, inner)) => (kind, inner),
        None => (text(value), &Value::Null),
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Docs {
    /// An item that the documentation has.
    pub(crate) fn item(&self, id: &Value) -> Option<&Value> {
        self.0["index"].get(id.to_string())
    }

    /// The signature of an item, without what is in it.
    pub(crate) fn signature(&self, item: &Value) -> String {
        let (kind, inner) = kind_of(&item["inner"]);
        let name = text(&item["name"]);
        let public = if item["visibility"] == "public" { "pub " } else { "" };
        let (params, clauses) = self.generics(&inner["generics"]);
        match kind {
            "module" => format!("pub mod {name}"),
            "struct" if inner["kind"] == "unit" => format!("pub struct {name};"),
            "struct" | "enum" => format!("pub {kind} {name}{params}{clauses}"),
            "trait" => {
                format!("pub trait {name}{params}{}{clauses}", self.bounded(&inner["bounds"]))
            }
            "type_alias" => format!("pub type {name}{params} = {}", self.of_type(&inner["type"])),
            "constant" | "assoc_const" => {
                format!("{public}const {name}: {}", self.of_type(&inner["type"]))
            }
            "assoc_type" if inner["type"].is_null() => {
                format!("type {name}{params}{}", self.bounded(&inner["bounds"]))
            }
            "assoc_type" => format!("type {name}{params} = {}", self.of_type(&inner["type"])),
            "struct_field" => format!("{public}{name}: {}", self.of_type(inner)),
            "variant" => self.variant(name, inner),
            "function" => format!("{public}{}", self.function(name, inner)),
            "impl" => self.implementation(inner),
            other => other.to_owned(),
        }
    }

    /// `impl Trait for Type`, with the types that are named in it.
    fn implementation(&self, inner: &Value) -> String {
        let (params, clauses) = self.generics(&inner["generics"]);
        let of = match &inner["trait"] {
            Value::Null => String::new(),
            of => format!("{} for ", self.path(of)),
        };
        let items = list(&inner["items"]).filter_map(|id| self.item(id));
        let types = items.filter(|item| kind_of(&item["inner"]).0 == "assoc_type");
        let types = joined(types.map(|item| self.signature(item)), ", ", " { ", " }");
        format!("impl{params} {of}{}{clauses}{types}", self.of_type(&inner["for"]))
    }

    fn variant(&self, name: &str, inner: &Value) -> String {
        let fields = |ids, open, close| {
            let fields = list(ids).map(|id| match self.item(id) {
                Some(field) if open == "(" => self.of_type(&field["inner"]["struct_field"]),
                Some(field) => self.signature(field),
                None => "_".to_owned(),
            });
            joined(fields, ", ", open, close)
        };
        let fields = match kind_of(&inner["kind"]) {
            ("tuple", ids) => fields(ids, "(", ")"),
            ("struct", inner) => fields(&inner["fields"], " { ", " }"),
            _ => String::new(),
        };
        let number = inner["discriminant"]["value"].as_str();
        format!("{name}{fields}{}", number.map(|number| format!(" = {number}")).unwrap_or_default())
    }

    fn function(&self, name: &str, inner: &Value) -> String {
        let mut before = String::new();
        for (flag, word) in
            [("is_const", "const "), ("is_async", "async "), ("is_unsafe", "unsafe ")]
        {
            if inner["header"][flag] == true {
                before.push_str(word);
            }
        }
        let (params, clauses) = self.generics(&inner["generics"]);
        let arguments = list(&inner["sig"]["inputs"]).map(|input| {
            let (name, of) = (text(&input[0]), self.of_type(&input[1]));
            match (name, of.strip_suffix("Self")) {
                ("self", Some(before)) if before.is_empty() || before.starts_with('&') => {
                    format!("{before}self")
                }
                _ => format!("{name}: {of}"),
            }
        });
        let arguments = arguments.collect::<Vec<_>>().join(", ");
        let output = self.output(&inner["sig"]["output"]);
        format!("{before}fn {name}{params}({arguments}){output}{clauses}")
    }

    fn output(&self, output: &Value) -> String {
        if output.is_null() { String::new() } else { format!(" -> {}", self.of_type(output)) }
    }

    /// The parameters in angle brackets, and the clauses behind `where`.
    fn generics(&self, generics: &Value) -> (String, String) {
        let written = |param: &&Value| {
            // `impl Trait` as an argument, and `'_`.
            param["kind"]["type"]["is_synthetic"] != true && param["name"] != "'_"
        };
        let params = list(&generics["params"]).filter(written).map(|param| {
            let (name, (kind, inner)) = (text(&param["name"]), kind_of(&param["kind"]));
            let default = match &inner["default"] {
                Value::Null => String::new(),
                Value::String(value) => format!(" = {value}"),
                of => format!(" = {}", self.of_type(of)),
            };
            match kind {
                "const" => format!("const {name}: {}{default}", self.of_type(&inner["type"])),
                "lifetime" => name.to_owned() + &self.bounded(&inner["outlives"]),
                _ => format!("{name}{}{default}", self.bounded(&inner["bounds"])),
            }
        });
        let clauses = list(&generics["where_predicates"]).map(|clause| match kind_of(clause) {
            ("lifetime_predicate", of) => {
                text(&of["lifetime"]).to_owned() + &self.bounded(&of["outlives"])
            }
            (_, of) => {
                let bound = self.of_type(&of["type"]) + &self.bounded(&of["bounds"]);
                self.higher_ranked(of) + &bound
            }
        });
        (joined(params, ", ", "<", ">"), joined(clauses, ", ", " where ", ""))
    }

    /// `: A + B`, or nothing.
    fn bounded(&self, bounds: &Value) -> String {
        joined(list(bounds).map(|bound| self.bound(bound)), " + ", ": ", "")
    }

    fn bound(&self, bound: &Value) -> String {
        match kind_of(bound) {
            ("trait_bound", of) => {
                let maybe = if of["modifier"] == "maybe" { "?" } else { "" };
                format!("{maybe}{}{}", self.higher_ranked(of), self.path(&of["trait"]))
            }
            ("use", names) => {
                let names = list(names).map(|name| text(kind_of(name).1).to_owned());
                format!("use<{}>", names.collect::<Vec<_>>().join(", "))
            }
            ("outlives", lifetime) => text(lifetime).to_owned(),
            (lifetime, _) => lifetime.to_owned(),
        }
    }

    /// `for<'a> `, or nothing.
    fn higher_ranked(&self, of: &Value) -> String {
        let names = list(&of["generic_params"]).map(|param| text(&param["name"]).to_owned());
        joined(names, ", ", "for<", "> ")
    }

    fn of_type(&self, of: &Value) -> String {
        let all = |types: &Value| list(types).map(|of| self.of_type(of)).collect::<Vec<_>>();
        let (kind, inner) = kind_of(of);
        match kind {
            "resolved_path" => self.path(inner),
            "generic" | "primitive" => text(inner).to_owned(),
            "tuple" => match &all(inner)[..] {
                [one] => format!("({one},)"),
                types => format!("({})", types.join(", ")),
            },
            "slice" => format!("[{}]", self.of_type(inner)),
            "array" => format!("[{}; {}]", self.of_type(&inner["type"]), text(&inner["len"])),
            "impl_trait" => joined(list(inner).map(|of| self.bound(of)), " + ", "impl ", ""),
            "dyn_trait" => {
                let traits = list(&inner["traits"]);
                let traits = traits.map(|of| self.higher_ranked(of) + &self.path(&of["trait"]));
                let lifetime = inner["lifetime"].as_str().map(ToOwned::to_owned);
                joined(traits.chain(lifetime), " + ", "dyn ", "")
            }
            "borrowed_ref" => {
                let lifetime = inner["lifetime"].as_str().map(|name| format!("{name} "));
                let mutable = if inner["is_mutable"] == true { "mut " } else { "" };
                let of = self.of_type(&inner["type"]);
                format!("&{}{mutable}{of}", lifetime.unwrap_or_default())
            }
            "function_pointer" => {
                let sig = &inner["sig"];
                let inputs = list(&sig["inputs"]).map(|input| self.of_type(&input[1]));
                let inputs = inputs.collect::<Vec<_>>().join(", ");
                format!("{}fn({inputs}){}", self.higher_ranked(inner), self.output(&sig["output"]))
            }
            "qualified_path" => {
                let (of, name) = (self.of_type(&inner["self_type"]), text(&inner["name"]));
                match &inner["trait"] {
                    Value::Null => format!("{of}::{name}"),
                    as_trait => format!("<{of} as {}>::{name}", self.path(as_trait)),
                }
            }
            _ => of.to_string(), // unsafe code's, and what is to come: as it stands
        }
    }

    /// The name of a type or trait with its arguments. It is the same however the name was
    /// imported: what is not of this crate or of std has its crate before it.
    fn path(&self, of: &Value) -> String {
        let path = &self.0["paths"][of["id"].to_string()];
        let segments: Vec<_> = list(&path["path"]).map(text).collect();
        let name = match &segments[..] {
            [] => text(&of["path"]).to_owned(),
            [.., name] if path["crate_id"] == 0 => (*name).to_owned(),
            // `io::Error` and `error::Error`.
            ["core" | "alloc" | "std", module, .., name @ ("Error" | "Result")]
                if *module != "result" =>
            {
                format!("{module}::{name}")
            }
            ["core" | "alloc" | "std", .., name] => (*name).to_owned(),
            [home, .., name] => format!("{home}::{name}"),
            [name] => (*name).to_owned(),
        };
        name + &self.arguments(&of["args"])
    }

    fn arguments(&self, arguments: &Value) -> String {
        match kind_of(arguments) {
            ("parenthesized", inner) => {
                let inputs = list(&inner["inputs"]).map(|of| self.of_type(of));
                let inputs = inputs.collect::<Vec<_>>().join(", ");
                format!("({inputs}){}", self.output(&inner["output"]))
            }
            ("angle_bracketed", inner) => {
                let args = list(&inner["args"]).map(|argument| match kind_of(argument) {
                    ("type", of) => self.of_type(of),
                    ("const", of) => text(&of["expr"]).to_owned(),
                    ("lifetime", name) => text(name).to_owned(),
                    _ => "_".to_owned(),
                });
                let constraints = list(&inner["constraints"]).map(|constraint| {
                    let name = text(&constraint["name"]);
                    match kind_of(&constraint["binding"]) {
                        ("equality", is) => format!("{name} = {}", self.of_type(&is["type"])),
                        (_, bounds) => name.to_owned() + &self.bounded(bounds),
                    }
                });
                joined(args.chain(constraints), ", ", "<", ">")
            }
            _ => String::new(),
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// These, in what opens and closes them; nothing if there are none.
fn joined(parts: impl Iterator<Item = String>, between: &str, open: &str, close: &str) -> String {
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() { String::new() } else { format!("{open}{}{close}", parts.join(between)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A private `use` stood in the listing, and what a macro implements had no type.
    #[test]
    fn a_signature_has_public_names_and_no_others() {
        let docs = r#"{
            "index": {},
            "paths": {
                "1": { "crate_id": 0, "path": ["ours", "private", "Error"] },
                "2": { "crate_id": 1, "path": ["std", "io", "error", "Error"] },
                "3": { "crate_id": 2, "path": ["http", "uri", "Uri"] },
                "4": { "crate_id": 1, "path": ["core", "convert", "From"] }
            }
        }"#;
        let docs = Docs(serde_json::from_str(docs).unwrap());
        let told = |item: &str| docs.signature(&serde_json::from_str(item).unwrap());
        let function = r#"{
            "name": "f", "visibility": "public", "inner": { "function": {
                "generics": { "params": [{ "name": "T", "kind": { "type": { "bounds": [], "default": null } } }],
                    "where_predicates": [{ "bound_predicate": { "type": { "generic": "T" },
                        "bounds": [{ "outlives": "'static" }], "generic_params": [] } }] },
                "header": { "is_const": false, "is_async": true, "is_unsafe": false },
                "sig": {
                    "inputs": [
                        ["self", { "borrowed_ref": { "lifetime": null, "is_mutable": true, "type": { "generic": "Self" } } }],
                        ["uri", { "resolved_path": { "path": "AsImported", "id": 3, "args": null } }]
                    ],
                    "output": { "resolved_path": { "path": "crate::private::Error", "id": 1, "args": null } }
                }
            } }
        }"#;
        assert_eq!(
            told(function),
            "pub async fn f<T>(&mut self, uri: http::Uri) -> Error where T: 'static"
        );
        let implementation = r#"{
            "name": null, "visibility": "default", "inner": { "impl": {
                "generics": { "params": [], "where_predicates": [] }, "items": [],
                "trait": { "path": "From", "id": 4, "args": { "angle_bracketed": { "constraints": [],
                    "args": [{ "type": { "resolved_path": { "path": "io::Error", "id": 2, "args": null } } }] } } },
                "for": { "borrowed_ref": { "lifetime": "'a", "is_mutable": false, "type": { "slice": { "primitive": "u8" } } } }
            } }
        }"#;
        assert_eq!(told(implementation), "impl From<io::Error> for &'a [u8]");
        let module = r#"{ "name": "session", "visibility": "public", "inner": { "module": { "items": [] } } }"#;
        assert_eq!(told(module), "pub mod session");
    }
}
