//! The embedded S3 server against the SDK: what S3 refuses it refuses, what it answered survives.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use packmule::s3d::{Credentials, Fault, FaultPlan, Operation, Options, Server};
use rstest::rstest;
use tempfile::TempDir;

use crate::s3_lab::client;

const BUCKET: &str = "bucket";
const PART: usize = 5 << 20;

struct Lab {
    runtime: tokio::runtime::Runtime,
    dir: TempDir,
    server: Option<Server>,
    client: Client,
}

impl Lab {
    fn new() -> Self {
        Self::with(FaultPlan::default())
    }

    fn with(faults: FaultPlan) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = start(&dir, faults);
        server.create_bucket(BUCKET).unwrap();
        let client = client(&server);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, dir, server: Some(server), client }
    }

    fn restart(&mut self) {
        self.server = None;
        let server = start(&self.dir, FaultPlan::default());
        self.client = client(&server);
        self.server = Some(server);
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn put(&self, key: &str, body: &'static [u8]) {
        let put = self.client.put_object().bucket(BUCKET).key(key);
        self.run(put.body(ByteStream::from_static(body)).send()).unwrap();
    }

    fn exists(&self, key: &str) -> bool {
        self.run(self.client.head_object().bucket(BUCKET).key(key).send()).is_ok()
    }

    fn get(&self, key: &str) -> Vec<u8> {
        self.run(async {
            let got = self.client.get_object().bucket(BUCKET).key(key).send();
            let body = got.await.unwrap().body.collect().await.unwrap();
            body.to_vec()
        })
    }

    fn create(&self, key: &str) -> String {
        let create = self.client.create_multipart_upload().bucket(BUCKET).key(key);
        let create = create
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject)
            .metadata("owner", "0");
        self.run(create.send()).unwrap().upload_id.unwrap()
    }

    fn part(&self, key: &str, upload: &str, number: i32, body: &[u8]) -> CompletedPart {
        let part = self.client.upload_part().bucket(BUCKET).key(key);
        let part = part.upload_id(upload).part_number(number).checksum_crc64_nvme(crc64(body));
        let sent = self.run(part.body(body.to_vec().into()).send()).unwrap();
        CompletedPart::builder()
            .part_number(number)
            .e_tag(sent.e_tag.unwrap())
            .checksum_crc64_nvme(sent.checksum_crc64_nvme.unwrap())
            .build()
    }

    /// Completes an upload of `parts`, with `whole` as the claimed checksum and `size` as the claimed size.
    fn complete(&self, key: &str, upload: &str, parts: &[CompletedPart], claim: (String, usize)) -> Result<(), String> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec()));
        let complete = self.client.complete_multipart_upload().bucket(BUCKET);
        let complete = complete.key(key).upload_id(upload).multipart_upload(parts.build());
        let complete = complete.checksum_crc64_nvme(claim.0).checksum_type(ChecksumType::FullObject);
        let complete = complete.mpu_object_size(claim.1.try_into().unwrap()).if_none_match("*");
        let done = self.run(complete.send());
        done.map(|_| ()).map_err(|e| e.code().unwrap_or("none").to_owned())
    }
}

fn start(dir: &TempDir, faults: FaultPlan) -> Server {
    let credentials = Credentials { access_key: "key".to_owned(), secret_key: "secret".to_owned() };
    let options = Options { faults, ..Options::default() };
    Server::start(dir.path(), &credentials, options).unwrap()
}

fn crc64(bytes: &[u8]) -> String {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes);
    STANDARD.encode(crc.to_be_bytes())
}

#[rstest]
#[case::crc32("crc32", 4)]
#[case::crc32c("crc32c", 4)]
#[case::sha1("sha1", 20)]
#[case::sha256("sha256", 32)]
#[case::crc64nvme("crc64nvme", 8)]
#[case::md5("md5", 16)]
fn a_wrong_checksum_is_refused_and_stores_nothing(#[case] name: &str, #[case] digest_bytes: usize) {
    let lab = Lab::new();
    let wrong = STANDARD.encode(vec![7; digest_bytes]);
    let put = lab.client.put_object().bucket(BUCKET).key("k");
    let put = put.body(ByteStream::from_static(b"contents"));
    let put = match name {
        "crc32" => put.checksum_crc32(wrong),
        "crc32c" => put.checksum_crc32_c(wrong),
        "sha1" => put.checksum_sha1(wrong),
        "sha256" => put.checksum_sha256(wrong),
        "crc64nvme" => put.checksum_crc64_nvme(wrong),
        _ => put.content_md5(wrong),
    };
    let error = lab.run(put.send()).unwrap_err();
    assert_eq!(error.code(), Some("BadDigest"), "{error:?}");
    assert!(!lab.exists("k"));
    let left = std::fs::read_dir(lab.dir.path().join("data")).unwrap().count();
    assert_eq!(left, 0, "a refused body leaves no file");
}

#[test]
fn an_upload_completes_only_with_the_true_checksum_and_size() {
    let lab = Lab::new();
    let (first, second) = (vec![1; PART], vec![2; 1000]);
    let whole = [first.clone(), second.clone()].concat();
    let upload = lab.create("big");
    // Out of order, and one of them twice: the later one counts.
    lab.part("big", &upload, 2, b"an earlier version");
    let parts = [lab.part("big", &upload, 1, &first), lab.part("big", &upload, 2, &second)];
    let truth = (crc64(&whole), whole.len());
    let wrong_sum = lab.complete("big", &upload, &parts, (crc64(b"else"), whole.len()));
    assert_eq!(wrong_sum, Err("BadDigest".to_owned()));
    let wrong_size = lab.complete("big", &upload, &parts, (crc64(&whole), 1));
    assert_eq!(wrong_size, Err("InvalidRequest".to_owned()));
    let one_only = lab.complete("big", &upload, &parts[..1], truth.clone());
    assert_eq!(one_only, Err("InvalidRequest".to_owned()));
    assert!(!lab.exists("big"));
    lab.complete("big", &upload, &parts, truth.clone()).unwrap();
    assert_eq!(lab.get("big"), whole);
    let head = lab.client.head_object().bucket(BUCKET).key("big");
    let head = lab.run(head.checksum_mode(ChecksumMode::Enabled).send()).unwrap();
    assert_eq!(head.checksum_crc64_nvme, Some(truth.0.clone()));
    assert_eq!(head.checksum_type, Some(ChecksumType::FullObject));
    assert_eq!(head.metadata.unwrap()["owner"], "0");
    let again = lab.complete("big", &upload, &parts, truth);
    assert_eq!(again, Err("NoSuchUpload".to_owned()));
}

#[test]
fn a_wrong_part_is_refused_and_not_listed() {
    let lab = Lab::new();
    let upload = lab.create("k");
    let part = lab.client.upload_part().bucket(BUCKET).key("k").upload_id(&upload);
    let part = part.part_number(1).checksum_crc64_nvme(crc64(b"other"));
    let error = lab.run(part.body(ByteStream::from_static(b"body")).send()).unwrap_err();
    assert_eq!(error.code(), Some("BadDigest"));
    let list = lab.client.list_parts().bucket(BUCKET).key("k").upload_id(&upload);
    assert!(lab.run(list.send()).unwrap().parts().is_empty());
}

#[test]
fn a_small_part_in_the_middle_is_refused() {
    let lab = Lab::new();
    let upload = lab.create("k");
    let parts = [lab.part("k", &upload, 1, b"small"), lab.part("k", &upload, 2, b"last")];
    let done = lab.complete("k", &upload, &parts, (crc64(b"smalllast"), 9));
    assert_eq!(done, Err("EntityTooSmall".to_owned()));
}

#[test]
fn parts_and_uploads_are_listed_in_pages_with_checksums_and_survive_a_restart() {
    let mut lab = Lab::new();
    lab.put("kept", b"still here");
    let upload = lab.create("k/unfinished");
    for number in [3, 1, 2] {
        lab.part("k/unfinished", &upload, number, b"body");
    }
    std::fs::write(lab.dir.path().join("data/orphan"), b"left by a crash").unwrap();
    lab.restart();
    assert!(!lab.dir.path().join("data/orphan").exists());
    assert_eq!(lab.get("kept"), b"still here");
    let uploads = lab.client.list_multipart_uploads().bucket(BUCKET).prefix("k/");
    let uploads = lab.run(uploads.send()).unwrap();
    assert_eq!(uploads.uploads()[0].upload_id(), Some(upload.as_str()));
    let list = |marker: Option<String>| {
        let list = lab.client.list_parts().bucket(BUCKET).key("k/unfinished");
        let list = list.upload_id(&upload).max_parts(2).set_part_number_marker(marker);
        lab.run(list.send()).unwrap()
    };
    let first = list(None);
    let second = list(first.next_part_number_marker.clone());
    let numbers: Vec<_> = first.parts().iter().chain(second.parts()).collect();
    assert_eq!(numbers.iter().filter_map(|p| p.part_number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(numbers.iter().all(|p| p.checksum_crc64_nvme == Some(crc64(b"body")) && p.size == Some(4)));
    assert_eq!((first.is_truncated, second.is_truncated), (Some(true), Some(false)));
    let abort = lab.client.abort_multipart_upload().bucket(BUCKET).key("k/unfinished");
    lab.run(abort.upload_id(&upload).send()).unwrap();
    assert_eq!(std::fs::read_dir(lab.dir.path().join("data")).unwrap().count(), 0);
}

#[test]
fn conditional_writes_keep_the_first_object() {
    let lab = Lab::new();
    lab.put("k", b"first");
    let put = lab.client.put_object().bucket(BUCKET).key("k").if_none_match("*");
    let error = lab.run(put.body(ByteStream::from_static(b"second")).send()).unwrap_err();
    assert_eq!(error.code(), Some("PreconditionFailed"));
    let upload = lab.create("k");
    let parts = [lab.part("k", &upload, 1, b"third")];
    let done = lab.complete("k", &upload, &parts, (crc64(b"third"), 5));
    assert_eq!(done, Err("PreconditionFailed".to_owned()));
    assert_eq!(lab.get("k"), b"first");
}

#[test]
fn any_legal_key_is_an_object_of_its_own() {
    let lab = Lab::new();
    let long = "k".repeat(1024);
    let keys = ["a", "a/b", "a/", "./c", "x//y", "a/../b", "~ +%&=?#", "\u{e9}\u{1f980}", &long];
    for key in keys {
        lab.put(key, Box::leak(key.as_bytes().to_vec().into_boxed_slice()));
    }
    for key in keys {
        assert_eq!(lab.get(key), key.as_bytes(), "{key:?}");
    }
    let list = |token: Option<String>| {
        let list = lab.client.list_objects_v2().bucket(BUCKET).max_keys(4);
        lab.run(list.set_continuation_token(token).send()).unwrap()
    };
    let mut listed = Vec::new();
    let mut token = None;
    loop {
        let page = list(token);
        listed.extend(page.contents().iter().filter_map(|o| o.key.clone()));
        token = page.next_continuation_token;
        if token.is_none() {
            break;
        }
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(listed, sorted);
    let list = lab.client.list_objects_v2().bucket(BUCKET).delimiter("/");
    let page = lab.run(list.send()).unwrap();
    let prefixes: Vec<_> = page.common_prefixes().iter().filter_map(|p| p.prefix()).collect();
    assert_eq!(prefixes, ["./", "a/", "x/"]);
}

#[test]
fn a_missing_bucket_is_not_created_by_a_put() {
    let lab = Lab::new();
    let put = lab.client.put_object().bucket("absent").key("k");
    let error = lab.run(put.body(ByteStream::from_static(b"x")).send()).unwrap_err();
    assert_eq!(error.code(), Some("NoSuchBucket"));
}

#[test]
fn scripted_faults_happen_once_each() {
    let faults = FaultPlan::default();
    faults
        .once(Operation::PutObject, Fault::SlowDown)
        .once(Operation::PutObject, Fault::FlipBit)
        .once(Operation::PutObject, Fault::DropAfter);
    let lab = Lab::with(faults.clone());
    let put = |body: &'static [u8]| {
        let put = lab.client.put_object().bucket(BUCKET).key("k").checksum_crc64_nvme(crc64(body));
        let sent = put.body(ByteStream::from_static(body)).customize().disable_payload_signing();
        lab.run(sent.send()).map_err(Box::new)
    };
    assert_eq!(put(b"x").unwrap_err().code(), Some("SlowDown"));
    assert_eq!(put(b"x").unwrap_err().code(), Some("BadDigest"));
    assert!(!lab.exists("k"));
    assert_eq!(put(b"x").unwrap_err().code(), None, "no answer arrives");
    assert!(lab.exists("k"), "but the work was done");
    assert!(faults.all_exercised());
    put(b"y").unwrap();
}
