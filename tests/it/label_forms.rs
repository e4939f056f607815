//! Labels and letters: every form of a label, what the letter on a drive says, what a drive carries to be read with.

use std::path::Path;
use std::process::{Command, Output};

fn packmule(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_packmule")).current_dir(dir).args(arguments).output().unwrap()
}

fn staged(dir: &Path, more: &[&str]) {
    std::fs::create_dir_all(dir.join("source")).unwrap();
    std::fs::write(dir.join("source/secret-project.txt"), "some content").unwrap();
    std::fs::create_dir(dir.join("drive")).unwrap();
    let stage = ["stage", "source", "--volume", "drive", "--job", "job", "--unlock-code-file", "code"];
    let out = packmule(dir, &[&stage[..], more].concat());
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}

const CONTACT: [&str; 6] =
    ["--contact", "Lab of Field Biology", "--contact", "12 Orchard Road, Davis CA", "--contact", "+1 530 555 0100"];

#[test]
fn a_label_says_whose_drive_it_is_in_every_form_and_nothing_of_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    staged(dir, &CONTACT);
    let label = |name: &str| {
        let out = packmule(dir, &["label", "drive", "--job", "job", "-o", name]);
        assert_eq!(out.status.code(), Some(0), "{out:?}");
        std::fs::read(dir.join(name)).unwrap()
    };
    let verified = packmule(dir, &["verify", "--keyless", "drive", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    let words = report["volumes"][0]["signed_by"]["fingerprint"].as_str().unwrap().to_owned();
    let job = report["volumes"][0]["job"].as_str().unwrap().to_owned();
    let svg = String::from_utf8(label("a.svg")).unwrap();
    for text in ["Volume 1 of 1", &words, &job, "of no value without its key", "Lab of Field Biology", "530 555"] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    assert!(!svg.contains("secret-project") && !svg.contains("source"));
    let html = String::from_utf8(label("a.html")).unwrap();
    assert!(html.contains(&words) && html.contains("size: A4"));
    let pdf = label("a.pdf");
    let pdf_text = String::from_utf8_lossy(&pdf);
    assert!(pdf.starts_with(b"%PDF-") && pdf_text.contains(&words) && pdf_text.contains("Lab of Field Biology"));
    let png = label("a.png");
    let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
    let mut dots = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut dots).unwrap();
    assert_eq!((frame.width, frame.height), (2340, 1599), "99.1 by 67.7 mm at 600 dots per inch");
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(2340, 1599, |x, y| dots[y * frame.line_size + x]);
    let codes = image.detect_grids();
    assert_eq!(codes.len(), 1, "a scanner finds one code");
    let (_, said) = codes[0].decode().expect("a scanner reads it");
    let key = report["volumes"][0]["signed_by"]["key"].as_str().unwrap();
    let volume = report["volumes"][0]["id"].as_str().unwrap_or_default();
    assert!(
        said.starts_with(&format!("packmule:{job}/1/{volume}")) && said.ends_with(&format!("?key={key}")),
        "{said}"
    );
    let black = dots.iter().filter(|dot| **dot == 0).count() as f64 / dots.len() as f64;
    assert!((0.03..0.4).contains(&black), "{black}");
    assert_eq!(packmule(dir, &["label", "drive", "-o", "a.doc"]).status.code(), Some(2));
    assert_eq!(packmule(dir, &["label", "drive", "drive", "-o", "b.png"]).status.code(), Some(2));
    assert_eq!(packmule(dir, &["label", "source", "-o", "b.pdf"]).status.code(), Some(6));
}

#[test]
fn the_letter_on_a_drive_says_whom_to_call_and_how_to_check_and_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    staged(dir, &CONTACT);
    let letter = std::fs::read_to_string(dir.join("drive/packmule/README.txt")).unwrap();
    for text in
        ["Lab of Field Biology", "+1 530 555 0100", "sha256sum -c SHA256SUMS", "packmule extract", "signs the seal"]
    {
        assert!(letter.contains(text), "{text}: {letter}");
    }
    assert!(letter.lines().all(|line| line.len() <= 92), "{letter}");
}

#[test]
fn a_drive_that_carries_its_reader_is_read_with_what_is_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    staged(dir, &["--self-carrying"]);
    let reader = dir.join("drive/packmule/reader");
    for name in ["volume.md", "pack.md", "manifest.md", "key-slots.md", "custody.md", "proof.md"] {
        let text = std::fs::read_to_string(reader.join(name)).unwrap();
        assert!(text.contains("Normative"), "{name}");
    }
    let program = reader.join(format!("packmule-{}-{}", std::env::consts::OS, std::env::consts::ARCH));
    let sums = std::fs::read_to_string(dir.join("drive/packmule/SHA256SUMS")).unwrap();
    assert_eq!(sums.matches("  reader/").count(), 7, "{sums}");
    // File systems of drives know no permissions, so whoever receives it copies the program first.
    std::fs::copy(&program, dir.join("theirs")).unwrap();
    let mut permissions = std::fs::metadata(dir.join("theirs")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(dir.join("theirs"), permissions).unwrap();
    let theirs =
        |arguments: &[&str]| Command::new(dir.join("theirs")).current_dir(dir).args(arguments).output().unwrap();
    let checked = theirs(&["verify", "drive", "--unlock-code-file", "code"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let extracted = theirs(&["extract", "drive", "--to", "out", "--unlock-code-file", "code"]);
    assert_eq!(extracted.status.code(), Some(0), "{extracted:?}");
    assert_eq!(std::fs::read_to_string(dir.join("out/secret-project.txt")).unwrap(), "some content");
    std::fs::write(reader.join("volume.md"), "altered").unwrap();
    assert_eq!(packmule(dir, &["verify", "--keyless", "drive"]).status.code(), Some(4));
}
