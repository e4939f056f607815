//! Certificates of erasure as pages to print: one for each drive, one for all drives of the job.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::erase::Certificate;
use crate::units::Bytes;

const STYLE: &str = "body { font: 11pt/1.45 Helvetica, Arial, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #111 } \
    h1 { font-size: 1.5rem; margin-bottom: .2rem } .level { font-size: 1.1rem; font-weight: bold } \
    .warning { border: 2px solid #111; padding: .4rem .6rem; font-weight: bold } \
    table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #bbb } \
    th { width: 11rem; font-weight: normal; color: #444 } thead th { width: auto; font-weight: bold } code { font-size: .85em; overflow-wrap: anywhere } \
    .sign { margin-top: 3rem; display: flex; gap: 3rem } .sign div { flex: 1; border-top: 1px solid #111; padding-top: .2rem; font-size: .85em } \
    @media print { body { margin: 0; max-width: none } }";

fn page(title: &str, body: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; meta name="viewport" content="width=device-width, initial-scale=1"; title { (title) } style { (PreEscaped(STYLE)) } }
            body { (body) }
        }
    };
    page.into_string()
}

fn size(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", Bytes::new(bytes).decimal())
}

fn told(text: Option<&String>) -> &str {
    text.map_or("not told by the drive", String::as_str)
}

fn allowed_by(certificate: &Certificate) -> Markup {
    match &certificate.completion_report_sha256 {
        Some(digest) => html! { "completion report, SHA-256 " code { (digest) } },
        None => html! { strong { "the user, without proof of arrival (abandoned)" } },
    }
}

/// The certificate of one drive.
pub(super) fn certificate(certificate: &Certificate) -> String {
    let rows: Vec<(&str, Markup)> = vec![
        ("Job", html! { code { (certificate.job) } }),
        ("Volume", html! { (certificate.volume) " " code { (certificate.volume_id) } }),
        ("Drive", html! { (told(certificate.model.as_ref())) }),
        ("Serial number", html! { (told(certificate.serial.as_ref())) }),
        ("File system", html! { (size(certificate.capacity_bytes)) }),
        ("Begun, ended", html! { (certificate.begun) br; (certificate.ended) }),
        ("Allowed by", allowed_by(certificate)),
        ("Key slots destroyed", html! { (certificate.slots) }),
        (
            "Files overwritten",
            html! { (certificate.files) ", " (size(certificate.bytes)) ", once, with random bytes, synced" },
        ),
        (
            "Read back",
            html! { (size(certificate.sampled_bytes)) ", equal to what was written (" (certificate.read_back) ")" },
        ),
        (
            "Free space",
            html! { @match certificate.free_space_bytes { Some(bytes) => { (size(bytes)) " overwritten" } None => { "not overwritten" } } },
        ),
        (
            "Whole drive",
            html! {
                @match &certificate.purge {
                    Some(purge) => { (purge.method) ", " (purge.begun) " to " (purge.ended) "; of " (purge.marks) " marks written before, " (purge.gone) " were looked for and are gone, " (purge.unreadable) " cannot be read" }
                    None => { "not purged" }
                }
            },
        ),
        ("Program", html! { (certificate.program) }),
        ("Signed by", html! { (certificate.signed_by) br; code { (certificate.signature) } }),
    ];
    page(
        &format!("Certificate of erasure, volume {}", certificate.volume),
        html! {
            h1 { "Certificate of erasure" }
            p class="level" { "NIST SP 800-88: " (certificate.level) }
            @if certificate.completion_report_sha256.is_none() { p class="warning" { "Erased without proof that its content had arrived." } }
            table { tbody { @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } } } }
            @if certificate.purge.is_none() { p { (super::certificate::LIMITS) } }
            div class="sign" { div { "Name, date" } div { "Signature" } }
        },
    )
}

/// One page about all drives erased so far.
pub(super) fn batch(job: &str, certificates: &[Certificate]) -> String {
    page(
        "Drives erased",
        html! {
            h1 { "Drives erased" }
            p { "Job " code { (job) } ", " (certificates.len()) " drives. Each has a certificate of its own, signed." }
            table {
                thead { tr { th scope="col" { "No." } th scope="col" { "Drive" } th scope="col" { "Level" } th scope="col" { "Ended" } th scope="col" { "Allowed by" } } }
                tbody {
                    @for certificate in certificates {
                        tr {
                            td { (certificate.volume) }
                            td { (told(certificate.model.as_ref())) br; (told(certificate.serial.as_ref())) }
                            td { (certificate.level) }
                            td { (certificate.ended) }
                            td { (allowed_by(certificate)) }
                        }
                    }
                }
            }
            div class="sign" { div { "Name, date" } div { "Signature" } }
        },
    )
}
