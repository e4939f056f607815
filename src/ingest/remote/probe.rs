//! What a server really does, found out with a few tiny objects before anything is entrusted to it.
//!
//! Owns: the questions and the verdict. Does not own: remembering it, or printing it. Invariants: a method counts as
//! working only if a false claim was refused, stored nothing, and a true one was accepted; what the probe wrote it
//! removes again.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::{Crc64, crc64};
use crate::ingest::remote::{Claim, Complete, Metadata, Method, ObjectStore, Put, PutPart, RemoteError, SentPart};

/// Part numbers that are tried, the highest first: S3's limit, and that of servers that take fewer.
const PARTS_TRIED: [u32; 2] = [10_000, 1_000];
const BODY: &[u8] = b"packmule asks this server which checksums it compares\n";

/// What a server was found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The strongest way it confirms what it stored.
    pub method: Method,
    /// Whether a PUT with `If-None-Match` keeps an object that is there.
    pub conditional_put: bool,
    /// Whether the completion of an upload does so too.
    pub conditional_complete: bool,
    /// Whether it tells the checksum of an object afterwards.
    pub keeps_checksum: bool,
    /// Whether the list of parts tells their checksums, so that a resume needs no memory of its own.
    pub lists_checksums: bool,
    /// The highest part number it took of those that were tried; `None`: none of them, or from before it was asked.
    #[serde(default)]
    pub parts_max: Option<u32>,
    /// Whether it keeps tags; `None`: nobody wanted any, so it was not asked.
    #[serde(default)]
    pub keeps_tags: Option<bool>,
    /// Whether requests name the bucket in their path, else in the host name; `None`: from before it was asked.
    #[serde(default)]
    pub path_style: Option<bool>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        write!(
            f,
            "server compares: {}; keeps existing objects on PUT: {}, on completion: {}; tells checksums of objects: {}, \
             of parts: {}; parts of an object: {}; keeps tags: {}; the bucket is named in: {}",
            self.method,
            yes(self.conditional_put),
            yes(self.conditional_complete),
            yes(self.keeps_checksum),
            yes(self.lists_checksums),
            self.parts_max.map_or("unknown".to_owned(), |most| format!("up to {most}")),
            self.keeps_tags.map_or("not asked", yes),
            self.path_style.map_or("unknown", |path| if path { "the path" } else { "the host name" })
        )
    }
}

/// Asks the server. `scratch` is a prefix of keys that nobody else uses, the same each time the same job asks, so that what
/// an interrupted probe left is removed by the next; `allowed` are the methods to try, strongest first.
///
/// # Errors
/// When not even a plain object can be stored: wrong bucket, no permission, no connection.
pub async fn probe<S: ObjectStore>(store: &S, scratch: &str, allowed: &[Method]) -> Result<Endpoint, RemoteError> {
    let key = |name: &str| format!("{scratch}{name}");
    let plain = object(&key("plain"), None, false);
    // The first request is the plainest one, so that a wrong bucket or key is told in the plainest words.
    store.put(Put { overwrite: true, ..plain.clone() }).await?;
    clear(store, scratch).await?;
    store.put(plain.clone()).await?;
    let conditional_put = match store.put(plain).await {
        Ok(_) => false,
        Err(RemoteError::Exists { .. }) => true,
        Err(error) => return Err(error),
    };
    let mut endpoint = Endpoint {
        method: Method::ReadBack,
        conditional_put,
        conditional_complete: false,
        keeps_checksum: false,
        lists_checksums: false,
        parts_max: None,
        keeps_tags: None,
        path_style: None,
    };
    for method in Method::LADDER.into_iter().filter(|method| allowed.contains(method)) {
        let name = key(&format!("{method:?}"));
        if single(store, &name, method).await? && upload(store, &name, method, &mut endpoint).await? {
            endpoint.method = method;
            break;
        }
        endpoint = Endpoint { conditional_put, ..endpoint };
    }
    store.delete(&key("plain")).await?;
    Ok(endpoint)
}

/// Removes what a probe that was interrupted left behind.
async fn clear<S: ObjectStore>(store: &S, scratch: &str) -> Result<(), RemoteError> {
    let open = match store.open_uploads(scratch).await {
        Ok(open) => open,
        Err(error @ (RemoteError::Unreachable { .. } | RemoteError::TimedOut { .. })) => return Err(error),
        // Who may write need not be allowed to list.
        Err(_) => Vec::new(),
    };
    for upload in open {
        store.abort(&upload.key, &upload.upload).await?;
    }
    store.delete(&format!("{scratch}plain")).await?;
    for method in Method::LADDER {
        store.delete(&format!("{scratch}{method:?}")).await?;
    }
    Ok(())
}

fn object(key: &str, claim: Option<Claim>, overwrite: bool) -> Put {
    Put { key: key.to_owned(), body: Bytes::from_static(BODY), claim, metadata: Metadata::new(), overwrite }
}

/// Refusals of every kind mean "this server cannot do that"; anything else ends the probe.
fn refused<T>(result: Result<T, RemoteError>) -> Result<Option<T>, RemoteError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ (RemoteError::Unreachable { .. } | RemoteError::TimedOut { .. } | RemoteError::Auth { .. })) => {
            Err(error)
        }
        Err(_) => Ok(None),
    }
}

/// Whether the server itself said no to a lie. One that we only notice in the answer was carried out.
fn lie_refused<T>(result: Result<T, RemoteError>) -> Result<bool, RemoteError> {
    if matches!(result, Err(RemoteError::Odd { .. })) {
        return Ok(false);
    }
    Ok(refused(result)?.is_none())
}

/// Whether a single PUT with a false claim is refused and leaves nothing, and one with a true claim is stored.
async fn single<S: ObjectStore>(store: &S, key: &str, method: Method) -> Result<bool, RemoteError> {
    let Some(claim) = method.claim(BODY, crc64(BODY)) else { return Ok(method == Method::ReadBack) };
    let lie_refused = lie_refused(store.put(object(key, Some(claim.falsified()), true)).await)?;
    let left = store.head(key).await?;
    let truth = refused(store.put(object(key, Some(claim), true)).await)?;
    store.delete(key).await?;
    Ok(lie_refused && left.is_none() && truth.is_some())
}

/// The same for uploads of one part: one that is lied about, one that becomes an object.
async fn upload<S: ObjectStore>(
    store: &S,
    key: &str,
    method: Method,
    endpoint: &mut Endpoint,
) -> Result<bool, RemoteError> {
    let Some(lied_about) = refused(store.create_upload(key, method, &Metadata::new()).await)? else { return Ok(false) };
    let caught = lies_are_caught(store, key, &lied_about, method, endpoint).await?;
    if caught {
        endpoint.parts_max = highest_part(store, key, &lied_about, method).await?;
    }
    store.abort(key, &lied_about).await?;
    if !caught {
        store.delete(key).await?;
        return Ok(false);
    }
    // Something in the way shows whether a completion keeps what is there. It is put there first: some servers drop
    // the unfinished uploads of a key that is written to.
    store.put(object(key, None, true)).await?;
    let upload = store.create_upload(key, method, &Metadata::new()).await?;
    let good = becomes_object(store, key, &upload, method, endpoint).await?;
    if !good {
        store.abort(key, &upload).await?;
    }
    store.delete(key).await?;
    Ok(good)
}

/// The highest part number that is taken, of S3's own limit and of what smaller servers are known to stop at.
async fn highest_part<S: ObjectStore>(
    store: &S,
    key: &str,
    upload: &str,
    method: Method,
) -> Result<Option<u32>, RemoteError> {
    let claim = method.claim(BODY, crc64(BODY));
    for number in PARTS_TRIED {
        if refused(store.put_part(PutPart { number, ..part(key, upload, claim) }).await)?.is_some() {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn part(key: &str, upload: &str, claim: Option<Claim>) -> PutPart {
    PutPart { key: key.to_owned(), upload: upload.to_owned(), number: 1, body: Bytes::from_static(BODY), claim }
}

fn completion(key: &str, upload: &str, part: &SentPart, method: Method) -> Complete {
    Complete {
        key: key.to_owned(),
        upload: upload.to_owned(),
        parts: vec![part.clone()],
        method,
        claim: method.whole(std::slice::from_ref(part), crc64(BODY)),
        bytes: BODY.len() as u64,
        overwrite: false,
    }
}

async fn lies_are_caught<S: ObjectStore>(
    store: &S,
    key: &str,
    upload: &str,
    method: Method,
    endpoint: &mut Endpoint,
) -> Result<bool, RemoteError> {
    let claim = method.claim(BODY, crc64(BODY));
    let lie = claim.map(Claim::falsified);
    if lie.is_some() && !lie_refused(store.put_part(part(key, upload, lie)).await)? {
        return Ok(false);
    }
    let Some(sent) = refused(store.put_part(part(key, upload, claim)).await)? else { return Ok(false) };
    // A server that cannot list them is used all the same: then the job's own memory of its parts has to do.
    let listed = refused(store.list_parts(key, upload).await)?.flatten().unwrap_or_default();
    endpoint.lists_checksums = listed.first().is_some_and(|part| part.checksums.of(method).is_some());
    let complete = completion(key, upload, &sent, method);
    match complete.claim.map(Claim::falsified) {
        None => Ok(true),
        lie => lie_refused(store.complete(Complete { claim: lie, ..complete }).await),
    }
}

async fn becomes_object<S: ObjectStore>(
    store: &S,
    key: &str,
    upload: &str,
    method: Method,
    endpoint: &mut Endpoint,
) -> Result<bool, RemoteError> {
    let claim = method.claim(BODY, crc64(BODY));
    let Some(sent) = refused(store.put_part(part(key, upload, claim)).await)? else { return Ok(false) };
    let complete = completion(key, upload, &sent, method);
    endpoint.conditional_complete = match store.complete(complete.clone()).await {
        Err(RemoteError::Exists { .. }) => true,
        other => match refused(other)? {
            Some(_) => false,
            None => return Ok(false),
        },
    };
    if endpoint.conditional_complete {
        store.delete(key).await?;
        if refused(store.complete(complete).await)?.is_none() {
            return Ok(false);
        }
    }
    let head = store.head(key).await?;
    endpoint.keeps_checksum = head.is_some_and(|head| head.checksums.of(method).is_some());
    Ok(true)
}

/// Reads an object back in pieces and compares it with what was read at the source.
///
/// # Errors
/// When it cannot be read.
pub async fn read_back<S: ObjectStore>(store: &S, key: &str, bytes: u64, expected: Crc64) -> Result<bool, RemoteError> {
    const PIECE_BYTES: u64 = 8 << 20;
    let mut crc = Crc64::EMPTY;
    let mut first = 0;
    while first < bytes {
        let piece = store.get(key, first, PIECE_BYTES.min(bytes - first)).await?;
        let length = piece.len() as u64;
        crc = crate::digest::combine(crc, crc64(&piece), length);
        first += length;
    }
    Ok(crc == expected)
}
