//! A scripted endpoint on loopback that speaks the protocol of AWS KMS.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Full name of what `alias/lab` stands for.
pub const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// What the scripted service was asked, and how it answers.
#[derive(Default)]
pub struct Script {
    pub asked: Vec<(String, Value)>,
    /// Data keys by what stands for their wrapped form, with the context they were made under.
    pub keys: BTreeMap<String, (String, Value)>,
    pub refuses: bool,
}

/// A key service on loopback.
pub struct Service {
    pub url: String,
    pub script: Arc<Mutex<Script>>,
}

/// Starts one; it ends with the process.
pub fn start() -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let script = Arc::new(Mutex::new(Script::default()));
    let shared = Arc::clone(&script);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || drop(serve(stream, &shared)));
        }
    });
    Service { url, script }
}

/// Requests of one connection, until it ends.
fn serve(stream: TcpStream, script: &Mutex<Script>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let (mut target, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ") {
                match name.to_ascii_lowercase().as_str() {
                    "x-amz-target" => target = value.to_owned(),
                    "content-length" => length = value.parse().unwrap_or(0),
                    _ => {}
                }
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, answer) = answer(&target, &serde_json::from_slice(&body)?, &mut script.lock().unwrap());
        let answer = answer.to_string();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

fn answer(target: &str, request: &Value, script: &mut Script) -> (&'static str, Value) {
    script.asked.push((target.to_owned(), request.clone()));
    let refused = |what: &str| ("400 Bad Request", json!({ "__type": what, "message": "scripted refusal" }));
    if script.refuses {
        return refused("AccessDeniedException");
    }
    let context = request["EncryptionContext"].clone();
    match target {
        "TrentService.GenerateDataKey" => {
            let number = u8::try_from(script.keys.len()).unwrap() + 1;
            let plain = STANDARD.encode([number; 32]);
            let wrapped = STANDARD.encode(format!("wrapped data key {number}"));
            script.keys.insert(wrapped.clone(), (plain.clone(), context));
            ("200 OK", json!({ "KeyId": KEY, "Plaintext": plain, "CiphertextBlob": wrapped }))
        }
        "TrentService.Decrypt" => match script.keys.get(request["CiphertextBlob"].as_str().unwrap_or_default()) {
            Some((plain, made)) if *made == context && request["KeyId"] == KEY => {
                ("200 OK", json!({ "KeyId": KEY, "Plaintext": plain }))
            }
            _ => refused("InvalidCiphertextException"),
        },
        _ => refused("UnknownOperationException"),
    }
}
