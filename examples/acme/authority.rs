//! The client of a certificate authority: an account, orders, and challenges by HTTP (RFC 8555).

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType,
    Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use tautline::BoxError;
use tautline::rustls::pki_types::CertificateDer;

use crate::folder::{self, Folder};

/// How long an authority may take to validate, and to issue.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));

/// Where the authority looks for what we answer to a challenge (RFC 8555 section 8.3).
const PATH: &str = "/.well-known/acme-challenge/";

/// The challenges that wait for the authority: what it is answered, by their tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Challenges(Arc<Mutex<HashMap<String, String>>>);

impl Challenges {
    /// The answer to a request for this path.
    pub(crate) fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    fn offer(&self, token: &str, answer: &str) {
        let mut offered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        offered.insert(token.to_owned(), answer.to_owned());
    }

    fn withdraw_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// An account with a certificate authority.
pub(crate) struct Authority {
    account: Account,
    challenges: Challenges,
}

impl Authority {
    /// With the account that is kept in the folder, or else a new one. `root` is the authority that
    /// vouches for the directory itself, where that is none of the system's.
    pub(crate) async fn open(
        directory: &str,
        root: Option<&Path>,
        contact: Option<&str>,
        folder: &Folder,
        challenges: Challenges,
    ) -> Result<Self, BoxError> {
        let builder = match root {
            Some(root) => Account::builder_with_root(root)?,
            None => Account::builder()?,
        };
        let kept = folder::read(&folder.account())?;
        let account = if let Some(kept) = kept {
            let credentials: AccountCredentials = serde_json::from_slice(&kept)?;
            builder.from_credentials(credentials).await?
        } else {
            let wanted = NewAccount {
                contact: contact.as_slice(),
                terms_of_service_agreed: true,
                only_return_existing: false,
            };
            let (account, credentials) =
                builder.create(&wanted, directory.to_owned(), None).await?;
            folder::write(&folder.account(), &serde_json::to_vec(&credentials)?)?;
            account
        };
        Ok(Self { account, challenges })
    }

    /// Has a certificate issued for these names. Returns the chain and a new private key as PEM.
    pub(crate) async fn order(&self, names: &[String]) -> Result<String, BoxError> {
        let ordered = self.order_with_challenges(names).await;
        self.challenges.withdraw_all();
        ordered
    }

    async fn order_with_challenges(&self, names: &[String]) -> Result<String, BoxError> {
        let names: Vec<_> = names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = self.account.new_order(&NewOrder::new(&names)).await?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                // Of an earlier order.
                AuthorizationStatus::Valid => continue,
                status => return Err(format!("an authorization is {status:?}").into()),
            }
            let challenge = authorization.challenge(ChallengeType::Http01);
            let mut challenge = challenge.ok_or("the authority has no challenge by HTTP")?;
            self.challenges.offer(&challenge.token, challenge.key_authorization().as_str());
            challenge.set_ready().await?;
        }
        match order.poll_ready(&PATIENCE).await? {
            OrderStatus::Ready => {}
            status => return Err(format!("the order is {status:?}").into()),
        }
        let key = order.finalize().await?;
        Ok(order.poll_certificate(&PATIENCE).await? + &key)
    }

    /// When the authority suggests to renew this certificate (RFC 9773); `None` if it does not tell.
    pub(crate) async fn suggested(
        &self,
        certificate: &CertificateDer<'_>,
    ) -> Option<Range<SystemTime>> {
        let id = CertificateIdentifier::try_from(certificate).ok()?;
        let (info, _) = self.account.renewal_info(&id).await.ok()?;
        let window = info.suggested_window;
        let time = |seconds: i64| {
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
        };
        Some(time(window.start.unix_timestamp())?..time(window.end.unix_timestamp())?)
    }
}
