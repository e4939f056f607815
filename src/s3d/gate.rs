//! The door in front of the protocol: carries out scripted faults, otherwise passes requests through.
//!
//! Owns: recognising an operation from the request line, and the misbehaviour itself. Without a script it does nothing.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, HttpError, HttpResponse};

use crate::s3d::HOST_NAME;
use crate::s3d::fault::{Fault, FaultPlan, Operation};

/// Which operation a path-style request is, as far as faults care.
fn operation(request: &Request<Incoming>) -> Operation {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let on_object =
        request.uri().path().trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    match *request.method() {
        _ if !on_object => Operation::Other,
        Method::PUT if has("uploadId") => Operation::UploadPart,
        Method::PUT if has("tagging") || has("acl") => Operation::Other,
        Method::PUT => Operation::PutObject,
        Method::POST if has("uploads") => Operation::CreateUpload,
        Method::POST if has("uploadId") => Operation::CompleteUpload,
        Method::DELETE if has("uploadId") => Operation::AbortUpload,
        Method::GET if has("uploadId") => Operation::ListParts,
        Method::GET if !has("attributes") && !has("tagging") => Operation::GetObject,
        Method::HEAD => Operation::HeadObject,
        _ => Operation::Other,
    }
}

fn refusal(status: StatusCode, code: &str) -> HttpResponse {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as scripted</Message></Error>");
    let mut response = HttpResponse::new(Body::from(text));
    *response.status_mut() = status;
    response
}

fn dropped() -> HttpError {
    HttpError::new(Box::new(std::io::Error::other("connection dropped as scripted")))
}

/// Whether the host name of a request has no bucket in it.
fn is_bare(request: &Request<Incoming>) -> bool {
    request.headers().get("host").is_none_or(|host| host == HOST_NAME)
}

/// Answers one request.
pub(super) async fn pass(
    service: S3Service,
    plan: FaultPlan,
    only_in_host_name: bool,
    request: Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
    if only_in_host_name && is_bare(&request) {
        return Ok(refusal(StatusCode::FORBIDDEN, "SecondLevelDomainForbidden"));
    }
    let fault = plan.next(operation(&request), request.uri().path());
    match fault {
        None => service.call(request.map(Body::from)).await,
        Some(Fault::SlowDown) => Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
        Some(Fault::InternalError) => Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        Some(Fault::ErrorInside200) => Ok(refusal(StatusCode::OK, "InternalError")),
        Some(Fault::DropBefore) => Err(dropped()),
        Some(Fault::DropAfter) => {
            let answer = service.call(request.map(Body::from)).await?;
            // A back end may do its work while its answer is being read.
            let _ = answer.into_body().collect().await;
            Err(dropped())
        }
        Some(Fault::Mute) => std::future::pending().await,
        Some(Fault::FlipBit) => service.call(flipped(request)).await,
        Some(Fault::Refuse(status, code)) => {
            Ok(refusal(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), code))
        }
        Some(Fault::DoneAndDenied) => {
            let answer = service.call(request.map(Body::from)).await?;
            let _ = answer.into_body().collect().await;
            Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"))
        }
        Some(Fault::Together(wanted)) => {
            plan.together(wanted).await;
            service.call(request.map(Body::from)).await
        }
        Some(Fault::Late(milliseconds)) => {
            let answer = service.call(request.map(Body::from)).await;
            tokio::time::sleep(std::time::Duration::from_millis(milliseconds.into())).await;
            answer
        }
        Some(Fault::WrongChecksum) => with_checksum(service.call(request.map(Body::from)).await?, Some(OTHER)).await,
        Some(Fault::NoChecksum) => with_checksum(service.call(request.map(Body::from)).await?, None).await,
    }
}

/// A CRC-64 that is that of nothing in particular.
const OTHER: &str = "AAAAAAAAAAA=";

/// The request with one bit of its body wrong.
fn flipped(request: Request<Incoming>) -> Request<Body> {
    let mut first = true;
    request.map(|body| {
        Body::http_body_unsync(body.map_frame(move |frame| {
            frame.map_data(|bytes: Bytes| {
                if !std::mem::replace(&mut first, false) || bytes.is_empty() {
                    return bytes;
                }
                let mut bytes = bytes.to_vec();
                bytes[0] ^= 1;
                Bytes::from(bytes)
            })
        }))
    })
}

fn checksum_headers(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let is_checksum = |name: &HeaderName| name.as_str().starts_with("x-amz-checksum-") && name != "x-amz-checksum-type";
    headers.iter().filter(|(name, _)| is_checksum(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The answer with another checksum or none, wherever it stands: headers, or the document of a completion or list.
async fn with_checksum(answer: HttpResponse, other: Option<&'static str>) -> Result<HttpResponse, HttpError> {
    let (mut parts, body) = answer.into_parts();
    for (name, _) in checksum_headers(&parts.headers) {
        match other {
            Some(other) => parts.headers.insert(name, HeaderValue::from_static(other)),
            None => parts.headers.remove(name),
        };
    }
    let is_document = parts.headers.get("content-type").is_some_and(|kind| kind.as_bytes().ends_with(b"xml"));
    if !is_document {
        return Ok(HttpResponse::from_parts(parts, body));
    }
    let bytes = body.collect().await.map_err(|_| dropped())?.to_bytes();
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    for name in ["ChecksumCRC64NVME", "ChecksumCRC32C", "ChecksumSHA256"] {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let mut done = String::new();
        let mut rest = text.as_str();
        while let Some((before, inside)) = rest.split_once(&open) {
            let after = inside.split_once(&close).map_or("", |(_, after)| after);
            done.push_str(before);
            if let Some(other) = other {
                done.push_str(&format!("{open}{other}{close}"));
            }
            rest = after;
        }
        done.push_str(rest);
        text = done;
    }
    parts.headers.remove("content-length");
    Ok(HttpResponse::from_parts(parts, Body::from(text)))
}
