//! The letter on every drive, to whoever finds or receives it.

use crate::crypto::fingerprint;
use crate::format::VolumeHeader;

/// Text of `README.txt`. `contact` is whom to call, as the user gave it.
pub(super) fn text(header: &VolumeHeader, contact: Option<&str>) -> String {
    let contact = match contact {
        Some(contact) => format!("It belongs to:\n\n{}", indented(contact)),
        None => "Hand it to whoever it was addressed to, or to the\nsender on the parcel.\n".to_owned(),
    };
    let key = match header.job_public_key {
        key if key == [0; 32] => String::new(),
        key => format!("  key     {}   (signs the seal)\n", fingerprint(&key)),
    };
    format!(
        "This drive is one of a set that carries a dataset from one place to another.

  job     {job}
  volume  {volume}
  number  {number} of the set
{key}
IF YOU FOUND IT
Please do not write to it. {contact}
Everything on it is encrypted (AES-256-GCM). Without a key that was never stored on
it, it holds nothing of value: no names, no sizes, no content can be learned.

IF YOU RECEIVED IT: how to check it without a key
  cd packmule && sha256sum -c SHA256SUMS
or, with the program, which checks the signature of the sender too:
  packmule verify --keyless <this drive>
Compare the key it names with the one on the label or in the sender's letter.
If the file packmule/SEALED is missing, the drive was not finished; tell the sender.
Write down when you got it, and in what state; that stays with the drive:
  packmule custody add <this drive> --received \"from whom, seal unbroken\" --sign-with my.key

HOW TO READ IT, with a key
  packmule verify  <this drive> --identity key.txt
  packmule extract <this drive> --identity key.txt --to <directory>
(or --passphrase-file, --unlock-code-file, --share: whatever the sender gave you;
with --kms, a key of AWS KMS that your credentials may use opens it).
If there is a directory packmule/reader, the program and the documents of the format
are in it. The files in packmule/slots are ordinary age files (age-encryption.org):
age -d shows the key of each run to whoever it was encrypted for, so that the data
can be read without the program; files ending in .kms are for AWS KMS.

packmule {version}
",
        job = header.job,
        volume = header.volume,
        number = header.number,
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
