//! The letter on every drive, to whoever finds or receives it.

use crate::format::VolumeHeader;

/// Text of `README.txt`.
pub(super) fn text(header: &VolumeHeader) -> String {
    format!(
        "This drive is one of a set that carries a dataset from one place to another.

  job     {job}
  volume  {volume}
  number  {number} of the set

WHAT IS ON IT
Everything on it is encrypted (AES-256-GCM). Without a key that was never stored on
it, it holds nothing of value: no names, no sizes, no content can be learned.

IF YOU FOUND IT
Please do not write to it. Hand it to whoever it was addressed to, or to the sender.

IF YOU RECEIVED IT: how to check it without a key
  cd packmule && sha256sum -c SHA256SUMS
or, with the program:
  packmule verify --keyless <this drive>
If the file packmule/SEALED is missing, the drive was not finished; tell the sender.

HOW TO READ IT, with a key
  packmule verify  <this drive> --identity key.txt
  packmule extract <this drive> --identity key.txt --to <directory>
The files in packmule/slots are ordinary age files (age-encryption.org): age -d shows
the key of each run to whoever it was encrypted for. The format of the packs is
written down in the program's documents (manifests/formats), so that the data can be
read without the program.

packmule {version}
",
        job = header.job,
        volume = header.volume,
        number = header.number,
        version = env!("CARGO_PKG_VERSION"),
    )
}
