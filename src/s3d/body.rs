//! Receiving a body, and giving one back.
//!
//! Owns: the way of bytes between a connection and the `data` folder, and the digests taken on that way. Does not own:
//! when the result becomes visible (`store`). Invariants: one buffer per request, whatever the length; a body that was
//! not kept leaves nothing behind.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};
use tempfile::TempPath;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, BufWriter};

use crate::s3d::store::{Segment, Store};
use crate::s3d::sums::{Algorithm, Sums, hasher, sums_of};

/// Bodies up to this length lie in the index row instead of a file of their own.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// Length of one write to, or read from, a body file.
const BUFFER_BYTES: usize = 1 << 20;

/// A body that has arrived, with the digests of what arrived. Dropped unkept, it leaves nothing behind.
pub(super) struct Received {
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
    pub(super) sums: Sums,
    body: Stored,
}

enum Stored {
    Inline(Vec<u8>),
    File(TempPath),
}

/// What a client says about the body it sends.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) sums: Sums,
    pub(super) md5: Option<String>,
    pub(super) length: Option<i64>,
    pub(super) trailers: Option<TrailingHeaders>,
    /// Algorithms to compute whether or not they are claimed.
    pub(super) wanted: BTreeSet<Algorithm>,
    /// The algorithm announced for a trailer.
    pub(super) announced: Option<Algorithm>,
    /// Small bodies may go into the index row.
    pub(super) may_inline: bool,
}

impl Received {
    /// Keeps the body and describes it.
    pub(super) fn keep(self) -> S3Result<(Segment, Option<Vec<u8>>)> {
        let etag = hex(&self.md5);
        let (blob, inline) = match self.body {
            Stored::Inline(bytes) => (None, Some(bytes)),
            Stored::File(path) => {
                let path = path.keep().map_err(S3Error::internal_error)?;
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                (name, None)
            }
        };
        Ok((Segment { size: self.size, blob, etag, sums: self.sums }, inline))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes in a body and checks it against every claim, headers and trailers.
pub(super) async fn receive(store: &Store, body: Option<StreamingBlob>, mut claims: Claims) -> S3Result<Received> {
    claims.sums.check_form()?;
    let mut algorithms = claims.wanted.clone();
    algorithms.extend(claims.sums.0.keys().copied());
    algorithms.extend(claims.announced);
    let received = take_in(store, body, &algorithms, claims.may_inline).await?;
    if claims.length.is_some_and(|length| u64::try_from(length).ok() != Some(received.size)) {
        return Err(s3_error!(IncompleteBody, "the body does not have the announced length"));
    }
    if let Some(trailers) = claims.trailers.take().and_then(|trailers| trailers.take()) {
        for algorithm in Algorithm::ALL {
            if let Some(value) = trailers.get(algorithm.header()).and_then(|value| value.to_str().ok()) {
                claims.sums.0.insert(algorithm, value.to_owned());
            }
        }
    }
    claims.sums.check_form()?;
    received.sums.check_claim(&claims.sums)?;
    if let Some(claimed) = claims.md5 {
        let claimed = STANDARD.decode(&claimed).ok().filter(|digest| digest.len() == 16);
        let claimed = claimed.ok_or_else(|| s3_error!(InvalidDigest, "the Content-MD5 you specified is not valid"))?;
        if claimed != received.md5 {
            return Err(s3_error!(BadDigest, "the Content-MD5 you specified did not match what we received"));
        }
    }
    Ok(received)
}

async fn take_in(
    store: &Store,
    body: Option<StreamingBlob>,
    algorithms: &BTreeSet<Algorithm>,
    may_inline: bool,
) -> S3Result<Received> {
    let mut digests = hasher(algorithms.iter().copied());
    let mut md5 = Md5::new();
    let mut size = 0_u64;
    let mut head = Vec::new();
    let mut file = None;
    if !may_inline {
        file = Some(new_file(store)?);
    }
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|e| broken_body(e.as_ref()))?;
            digests.update(&chunk);
            md5.update(&chunk);
            size += chunk.len() as u64;
            match &mut file {
                Some((writer, _)) => writer.write_all(&chunk).await.map_err(S3Error::internal_error)?,
                None => {
                    head.extend_from_slice(&chunk);
                    if head.len() > INLINE_BYTES_MAX {
                        let (mut writer, path) = new_file(store)?;
                        writer.write_all(&head).await.map_err(S3Error::internal_error)?;
                        head = Vec::new();
                        file = Some((writer, path));
                    }
                }
            }
        }
    }
    let body = match file {
        Some((mut writer, path)) => {
            writer.flush().await.map_err(S3Error::internal_error)?;
            Stored::File(path)
        }
        None => Stored::Inline(head),
    };
    let checksum = digests.finalize();
    Ok(Received { size, md5: md5.finalize(), sums: sums_of!(checksum), body })
}

fn new_file(store: &Store) -> S3Result<(BufWriter<tokio::fs::File>, TempPath)> {
    let named = tempfile::Builder::new().prefix("").rand_bytes(20).tempfile_in(&store.data);
    let (file, path) = named.map_err(S3Error::internal_error)?.into_parts();
    Ok((BufWriter::with_capacity(BUFFER_BYTES, tokio::fs::File::from_std(file)), path))
}

/// The protocol crate reports body errors as text only; the answers that S3 gives differ by cause.
fn broken_body(error: &(dyn std::error::Error + Send + Sync)) -> S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        let mut error = S3Error::with_message(
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            "the provided 'x-amz-content-sha256' header does not match what was computed",
        );
        error.set_status_code(hyper::StatusCode::BAD_REQUEST);
        return error;
    }
    if text.contains("SignatureMismatch") {
        return s3_error!(SignatureDoesNotMatch, "a chunk signature does not match");
    }
    S3Error::with_message(S3ErrorCode::IncompleteBody, format!("the body ended early: {text}"))
}

/// Streams `range` of the concatenated segments.
pub(super) fn send(
    store: &Arc<Store>,
    segments: Vec<Segment>,
    inline: Option<Vec<u8>>,
    range: std::ops::Range<u64>,
) -> StreamingBlob {
    if let Some(bytes) = inline {
        let slice = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let bytes = slice.map_or_else(Bytes::new, |(start, end)| Bytes::from(bytes).slice(start..end));
        return StreamingBlob::wrap(futures::stream::once(async move { Ok::<_, std::io::Error>(bytes) }));
    }
    let mut wanted = Vec::new();
    let mut offset = 0;
    for segment in segments {
        let (start, end) = (range.start.max(offset), range.end.min(offset + segment.size));
        if let (true, Some(blob)) = (start < end, segment.blob) {
            wanted.push((store.data.join(blob), start - offset, end - start));
        }
        offset += segment.size;
    }
    StreamingBlob::wrap(read_files(wanted))
}

/// Reads stretches of files one after the other. Memory: one buffer.
fn read_files(stretches: Vec<(PathBuf, u64, u64)>) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync {
    type State = (std::vec::IntoIter<(PathBuf, u64, u64)>, Option<(tokio::fs::File, u64)>);
    let state: State = (stretches.into_iter(), None);
    futures::stream::try_unfold(state, |(mut rest, mut open)| async move {
        loop {
            match open.take() {
                Some((_, 0)) => continue,
                Some((mut file, left)) => {
                    let want = usize::try_from(left.min(BUFFER_BYTES as u64)).unwrap_or(BUFFER_BYTES);
                    let mut buffer = vec![0; want];
                    file.read_exact(&mut buffer).await?;
                    return Ok(Some((Bytes::from(buffer), (rest, Some((file, left - want as u64))))));
                }
                None => match rest.next() {
                    None => return Ok(None),
                    Some((path, start, length)) => {
                        let mut file = tokio::fs::File::open(&path).await?;
                        file.seek(std::io::SeekFrom::Start(start)).await?;
                        open = Some((file, length));
                    }
                },
            }
        }
    })
}
