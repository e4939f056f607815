//! Servers for tests: the embedded one, and Garage where it is installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials as SdkCredentials, Region, retry::RetryConfig};
use packmule::ingest::remote::connect::Timeouts;
use packmule::ingest::remote::{S3Store, Target, connect};
use packmule::s3d::{Credentials, FaultPlan, Options, Quirks, Server};
use tempfile::TempDir;

pub(crate) const BUCKET: &str = "bucket";

/// An embedded server with one bucket, and a client to it.
pub(crate) struct Lab {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) dir: TempDir,
    pub(crate) server: Option<Server>,
    pub(crate) store: S3Store,
}

impl Lab {
    pub(crate) fn new(faults: FaultPlan, quirks: Quirks) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { faults, quirks, ..Options::default() };
        let server = Server::start(dir.path(), &credentials(), options).unwrap();
        server.create_bucket(BUCKET).unwrap();
        let runtime = runtime();
        let store = runtime.block_on(connect(target(&server.endpoint())));
        Self { runtime, dir, server: Some(server), store }
    }

    /// The server again, with what it holds and another script.
    pub(crate) fn restarted(mut self, faults: FaultPlan) -> Self {
        drop(self.server.take());
        let options = Options { faults, ..Options::default() };
        let server = Server::start(self.dir.path(), &credentials(), options).unwrap();
        self.store = self.run(connect(target(&server.endpoint())));
        self.server = Some(server);
        self
    }

    /// Every key in the bucket.
    pub(crate) fn keys(&self) -> Vec<String> {
        let client = client(self.server.as_ref().unwrap());
        let pages = client.list_objects_v2().bucket(BUCKET).into_paginator().send();
        let pages = self.run(pages.collect::<Result<Vec<_>, _>>()).unwrap();
        pages.into_iter().flat_map(|page| page.contents.unwrap_or_default()).map(|object| object.key.unwrap()).collect()
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub(crate) fn credentials() -> Credentials {
    Credentials { access_key: "key".to_owned(), secret_key: "secret".to_owned() }
}

pub(crate) fn target(endpoint: &str) -> Target {
    Target {
        bucket: BUCKET.to_owned(),
        endpoint_url: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        credentials: Some(("key".to_owned(), "secret".to_owned())),
        timeouts: Timeouts { answer: Duration::from_secs(20), ..Timeouts::default() },
        connections_max: 16,
        ..Target::default()
    }
}

/// A plain client, to look at a server without our own code between.
pub(crate) fn client(server: &Server) -> Client {
    client_at(&server.endpoint())
}

/// The same, to a server by its address.
pub(crate) fn client_at(endpoint: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(SdkCredentials::new("key", "secret", None, None, "test"))
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    Client::from_conf(config.build())
}

/// A Garage of its own: one node, sqlite, in a temporary directory.
pub(crate) struct Garage {
    pub(crate) endpoint: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    process: Child,
    _dir: TempDir,
}

impl Garage {
    /// Starts it, or says aloud why not.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = find_garage() else {
            eprintln!("SKIPPED: Garage is not installed (.ci/install-garage does it); its server was NOT tested");
            return None;
        };
        for _ in 0..5 {
            if let Some(garage) = Self::try_start(&program) {
                return Some(garage);
            }
        }
        panic!("{} does not start", program.display());
    }

    fn try_start(program: &Path) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let [api, rpc, admin] = free_ports();
        let config = dir.path().join("garage.toml");
        let text = format!(
            "metadata_dir = \"{0}/meta\"\ndata_dir = \"{0}/data\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
             metadata_fsync = false\ndata_fsync = false\ncompression_level = \"none\"\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{1}\"\n\
             [s3_api]\ns3_region = \"us-east-1\"\napi_bind_addr = \"127.0.0.1:{api}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\nadmin_token = \"test\"\n",
            dir.path().display(),
            "00".repeat(32),
        );
        std::fs::write(&config, text).unwrap();
        let (access_key, secret_key) = (format!("GK{:024}", 1), format!("{:064}", 1));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new(program)
            .arg("-c")
            .arg(&config)
            .args(["server", "--single-node", "--default-bucket"])
            .env("GARAGE_DEFAULT_ACCESS_KEY", &access_key)
            .env("GARAGE_DEFAULT_SECRET_KEY", &secret_key)
            .env("GARAGE_DEFAULT_BUCKET", BUCKET)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut garage =
            Self { endpoint: format!("http://127.0.0.1:{api}"), access_key, secret_key, process, _dir: dir };
        let log = garage._dir.path().join("log");
        for _ in 0..200 {
            // The bucket and its key are made after the socket is open; the log tells when that is over.
            let ready = std::net::TcpStream::connect(("127.0.0.1", api)).is_ok()
                && std::fs::read_to_string(&log).is_ok_and(|log| log.contains("S3 API server listening"));
            if ready {
                return Some(garage);
            }
            if garage.process.try_wait().unwrap().is_some() {
                eprintln!("{}", std::fs::read_to_string(&log).unwrap_or_default());
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("{}", std::fs::read_to_string(&log).unwrap_or_default());
        None
    }

    pub(crate) fn target(&self) -> Target {
        let credentials = Some((self.access_key.clone(), self.secret_key.clone()));
        Target { credentials, ..target(&self.endpoint) }
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn find_garage() -> Option<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/garage/bin/garage");
    let named = std::env::var_os("GARAGE_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("garage"));
    named.into_iter().chain([project]).chain(on_path).find(|program| program.is_file())
}

fn free_ports() -> [u16; 3] {
    let listeners = [0; 3].map(|_| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// A Python that can import boto3, or a loud word that there is none.
pub(crate) fn python_with_boto3() -> Option<PathBuf> {
    let named = std::env::var_os("PACKMULE_TEST_PYTHON").map(PathBuf::from);
    let found = named.into_iter().chain([PathBuf::from("python3")]).find(|python| {
        let import = Command::new(python).args(["-c", "import boto3"]).stderr(Stdio::null()).status();
        import.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        eprintln!("SKIPPED: python3 cannot import boto3 (pip install boto3); it read nothing back");
    }
    found
}

/// Runs a Python program against a server; gives what it printed.
pub(crate) fn run_python(python: &Path, program: &str, endpoint: &str, key: (&str, &str)) -> String {
    let output = Command::new(python)
        .args(["-c", program, endpoint, BUCKET])
        .env("AWS_ACCESS_KEY_ID", key.0)
        .env("AWS_SECRET_ACCESS_KEY", key.1)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    String::from_utf8(output.stdout).unwrap()
}
