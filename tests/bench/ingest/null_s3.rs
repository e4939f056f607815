//! An S3 server that keeps nothing: it shows what a client costs by itself. Standard library only: `rustc -O null_s3.rs`.
//!
//! It answers like S3, drops every body, and remembers sizes. Checksums are compared in bodies of at most 4 KiB, which is
//! what a probe sends; of larger ones none is. For measurements on loopback only.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const TINY: u64 = 4096;

#[derive(Default)]
struct Store {
    objects: Mutex<HashMap<String, (u64, Option<String>)>>,
    uploads: Mutex<HashMap<String, HashMap<u32, (u64, Option<String>)>>>,
    next: AtomicU64,
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: HashMap<String, String>,
    bytes: u64,
    tiny: Vec<u8>,
}

fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    println!("http://{}", listener.local_addr().expect("an address"));
    let store = Arc::new(Store::default());
    for stream in listener.incoming().flatten() {
        let store = store.clone();
        std::thread::spawn(move || serve(&stream, &store));
    }
}

fn serve(stream: &TcpStream, store: &Store) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::with_capacity(256 << 10, stream);
    while let Some(request) = read(&mut reader, stream) {
        let (status, headers, body) = answer(&request, store);
        let is_head = request.method == "HEAD";
        let length = if is_head && status == 200 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let text = format!("HTTP/1.1 {status} X\r\n{headers}{length}\r\n{}", if is_head { "" } else { &body });
        let mut stream = stream;
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>, mut stream: &TcpStream) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').map_or((target.clone(), String::new()), |(p, q)| (p.into(), q.into()));
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    if headers.get("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let mut left: u64 = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let decoded = headers.get("x-amz-decoded-content-length").and_then(|length| length.parse().ok());
    let bytes = decoded.unwrap_or(left);
    let mut tiny = Vec::new();
    while left > 0 {
        let buffer = reader.fill_buf().ok().filter(|buffer| !buffer.is_empty())?;
        let take = buffer.len().min(usize::try_from(left).ok()?);
        if bytes <= TINY {
            tiny.extend_from_slice(&buffer[..take]);
        }
        reader.consume(take);
        left -= take as u64;
    }
    Some(Request { method, path, query, headers, bytes, tiny })
}

/// CRC-64/NVME, bit by bit: for tiny bodies.
fn crc64(bytes: &[u8]) -> u64 {
    let mut crc = !0_u64;
    for byte in bytes {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x9a6c_9329_ac4b_c9b5 } else { crc >> 1 };
        }
    }
    !crc
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let at = (number >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(DIGITS[at as usize]) } else { '=' });
        }
    }
    text
}

fn error(status: u16, code: &str) -> (u16, String, String) {
    (status, String::new(), format!("<Error><Code>{code}</Code><Message>m</Message></Error>"))
}

fn word(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(ToOwned::to_owned))
}

fn answer(request: &Request, store: &Store) -> (u16, String, String) {
    let claim = request.headers.get("x-amz-checksum-crc64nvme").cloned();
    let shown = claim.as_ref().map_or(String::new(), |claim| format!("x-amz-checksum-crc64nvme: {claim}\r\n"));
    let lies = |claim: &str| request.bytes <= TINY && claim != base64(&crc64(&request.tiny).to_be_bytes());
    let upload = word(&request.query, "uploadId");
    let key = request.path.clone();
    match (request.method.as_str(), upload) {
        ("PUT", Some(upload)) => {
            if claim.as_deref().is_some_and(lies) {
                return error(400, "BadDigest");
            }
            let number = word(&request.query, "partNumber").and_then(|number| number.parse().ok()).unwrap_or(1);
            let mut uploads = store.uploads.lock().unwrap();
            let Some(parts) = uploads.get_mut(&upload) else { return error(404, "NoSuchUpload") };
            parts.insert(number, (request.bytes, claim));
            (200, format!("etag: \"p{number}\"\r\n{shown}"), String::new())
        }
        ("PUT", None) => {
            if claim.as_deref().is_some_and(lies) {
                return error(400, "BadDigest");
            }
            let mut objects = store.objects.lock().unwrap();
            if request.headers.contains_key("if-none-match") && objects.contains_key(&key) {
                return error(412, "PreconditionFailed");
            }
            objects.insert(key, (request.bytes, claim));
            // Clients that compare the tag with an MD5 of their own are told one when they sent one.
            let tag = request.headers.get("content-md5").map_or("e".to_owned(), |md5| hex_of_base64(md5));
            (200, format!("etag: \"{tag}\"\r\n{shown}"), String::new())
        }
        ("POST", None) if request.query.contains("uploads") => {
            let upload = format!("u{}", store.next.fetch_add(1, Ordering::Relaxed));
            store.uploads.lock().unwrap().insert(upload.clone(), HashMap::new());
            let body = format!(
                "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            );
            (200, String::new(), body)
        }
        ("POST", Some(upload)) => complete(request, store, &upload, claim),
        ("DELETE", Some(upload)) => {
            store.uploads.lock().unwrap().remove(&upload);
            (204, String::new(), String::new())
        }
        ("DELETE", None) => {
            store.objects.lock().unwrap().remove(&key);
            (204, String::new(), String::new())
        }
        ("HEAD", _) => match store.objects.lock().unwrap().get(&key) {
            _ if key.trim_matches('/').split('/').count() < 2 => (200, "content-length: 0\r\n".into(), String::new()),
            None => (404, String::new(), String::new()),
            Some((bytes, claim)) => {
                let shown = claim.as_ref().map_or(String::new(), |c| format!("x-amz-checksum-crc64nvme: {c}\r\n"));
                (200, format!("content-length: {bytes}\r\netag: \"e\"\r\n{shown}"), String::new())
            }
        },
        ("GET", Some(upload)) => list_parts(store, &upload),
        ("GET", None) if request.query.contains("uploads") => {
            (200, String::new(), "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>".into())
        }
        ("GET", None) if request.query.contains("list-type") || key.trim_matches('/').split('/').count() < 2 => {
            (200, String::new(), "<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>".into())
        }
        _ => error(404, "NoSuchKey"),
    }
}

fn hex_of_base64(text: &str) -> String {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let number = chunk.iter().fold(0, |n, c| n << 6 | digit(*c)) << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(&number.to_be_bytes()[1..chunk.len()]);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn complete(request: &Request, store: &Store, upload: &str, claim: Option<String>) -> (u16, String, String) {
    let key = request.path.clone();
    let mut uploads = store.uploads.lock().unwrap();
    let Some(parts) = uploads.get(upload) else { return error(404, "NoSuchUpload") };
    let bytes = parts.values().map(|(bytes, _)| bytes).sum();
    let part = parts.get(&1).and_then(|(_, claim)| claim.clone());
    if bytes <= TINY && claim.is_some() && claim != part {
        return error(400, "BadDigest");
    }
    let mut objects = store.objects.lock().unwrap();
    if request.headers.contains_key("if-none-match") && objects.contains_key(&key) {
        return error(412, "PreconditionFailed");
    }
    objects.insert(key, (bytes, claim));
    uploads.remove(upload);
    let body = "<CompleteMultipartUploadResult><Key>k</Key><ETag>\"e-1\"</ETag></CompleteMultipartUploadResult>";
    (200, String::new(), body.to_owned())
}

fn list_parts(store: &Store, upload: &str) -> (u16, String, String) {
    let uploads = store.uploads.lock().unwrap();
    let Some(parts) = uploads.get(upload) else { return error(404, "NoSuchUpload") };
    let mut body = "<ListPartsResult><IsTruncated>false</IsTruncated>".to_owned();
    for (number, (bytes, claim)) in parts {
        let claim = claim.as_deref().unwrap_or_default();
        body += &format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>\"p{number}\"</ETag><Size>{bytes}</Size><ChecksumCRC64NVME>{claim}</ChecksumCRC64NVME></Part>"
        );
    }
    (200, String::new(), body + "</ListPartsResult>")
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value() {
        assert_eq!(super::crc64(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(super::base64(&0xae8b_1486_0a79_9888_u64.to_be_bytes()), "rosUhgp5mIg=");
    }
}
