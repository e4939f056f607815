//! The door in front of the protocol: carries out scripted faults, otherwise passes requests through.
//!
//! Owns: recognising an operation from the request line, and the misbehaviour itself. Without a script it does nothing.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, HttpError, HttpResponse};

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

/// Answers one request.
pub(super) async fn pass(
    service: S3Service,
    plan: FaultPlan,
    request: Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
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
        Some(Fault::FlipBit) => {
            let mut first = true;
            let damaged = request.map(|body| {
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
            });
            service.call(damaged).await
        }
    }
}
