//! Starting and stopping: the listening socket, the thread and the connections.
//!
//! Owns: the life of a server. Invariants: it listens on 127.0.0.1 only; it has at most so many connections; when the
//! value is dropped, its thread has ended and its port is free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::{S3Auth, SecretKey};
use s3s::host::SingleDomain;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use tokio::sync::{Semaphore, oneshot};

use crate::s3d::Error;
use crate::s3d::backend::Backend;
use crate::s3d::fault::{FaultPlan, Quirks};
use crate::s3d::gate;
use crate::s3d::store::Store;

/// Most connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 512;

/// Name under which the server knows buckets by their host name: `bucket.s3.test`, for those who reach it through a proxy.
/// Source of the domain: RFC 6761, kept for tests.
pub const HOST_NAME: &str = "s3.test";

/// The one key pair the server accepts.
#[derive(Clone)]
pub struct Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
}

struct OneKey(Credentials);

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access_key {
            return Ok(SecretKey::from(self.0.secret_key.clone()));
        }
        Err(s3_error!(InvalidAccessKeyId, "the access key id you provided does not exist in our records"))
    }
}

/// Everything about a server that has a usual value.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Scripted faults, for tests.
    pub faults: FaultPlan,
    /// Lasting weaknesses, for tests.
    pub quirks: Quirks,
}

/// A running server; dropping it stops it. What it stored stays in its directory for the next start.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    store: Arc<Store>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts serving `dir` (created if it does not exist) on a thread of its own.
    ///
    /// # Errors
    /// When the directory or the index in it cannot be opened, or the port is taken.
    pub fn start(dir: &Path, credentials: &Credentials, options: Options) -> Result<Self, Error> {
        let store = Arc::new(Store::open(dir)?);
        let listen = |source| Error::Listen { port: options.port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let mut builder = S3ServiceBuilder::new(Backend { store: store.clone(), quirks: options.quirks });
        builder.set_auth(OneKey(credentials.clone()));
        if let Ok(domain) = SingleDomain::new(HOST_NAME) {
            builder.set_host(domain);
        }
        let service = builder.build();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("s3d")
            .enable_all()
            .build()
            .map_err(listen)?;
        let (faults, only_in_host_name) = (options.faults, options.quirks.only_in_host_name);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, service, faults, only_in_host_name) => {}
                    _ = stopped => {}
                }
            });
            // Requests under way are cut: a client sees a closed connection, the store sees nothing.
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        });
        Ok(Self { address, store, stop: Some(stop), thread: Some(thread) })
    }

    /// Where clients find it, such as `http://127.0.0.1:4566`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes sure a bucket exists.
    ///
    /// # Errors
    /// When S3 would not allow the name, or the index cannot be written.
    pub fn create_bucket(&self, name: &str) -> Result<(), Error> {
        if !s3s::path::check_bucket_name(name) {
            return Err(Error::BucketName { name: name.to_owned() });
        }
        self.store
            .create_bucket(name)
            .map(|_| ())
            .map_err(|_| Error::Index { operation: "create a bucket", source: rusqlite::Error::ExecuteReturnedResults })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, service: S3Service, faults: FaultPlan, only_in_host_name: bool) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (service, faults) = (service.clone(), faults.clone());
        tokio::spawn(async move {
            let handler =
                service_fn(move |request| gate::pass(service.clone(), faults.clone(), only_in_host_name, request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(60))
                .serve_connection(TokioIo::new(stream), handler);
            // An error here is the client's or the script's doing; there is nobody to tell.
            let _ = connection.await;
            drop(place);
        });
    }
}
