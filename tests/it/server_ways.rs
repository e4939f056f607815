//! Ways to a server: certificates of one's own, proxies, where the bucket is named.

use std::process::{Command, Output, Stdio};

use packmule::ingest::remote::probe::read_back;
use packmule::ingest::remote::{ObjectStore, Target, connect};
use packmule::s3d::{Fault, FaultPlan, HOST_NAME, Operation, Quirks};

use crate::ingest_kit::{Dataset, What, noise};
use crate::s3_lab::{BUCKET, Garage, Lab, runtime, target};
use crate::servers::whole_job;
use crate::tls_front::TlsFront;

const MIB: usize = 1 << 20;

fn dataset() -> Dataset {
    Dataset::new(
        1,
        &[
            (b"big", What::File(noise(1, 18 * MIB + 1))),
            (b"dir", What::Directory),
            (b"dir/small", What::File(noise(2, 70_000))),
        ],
    )
}

fn ingest(dataset: &Dataset, endpoint: &str, more: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
    command.arg("ingest").arg(dataset.volume_dir(1)).args(["--to", &format!("s3://{BUCKET}/data")]);
    command.args(["--endpoint-url", endpoint, "--region", "us-east-1"]).args(more);
    command.arg("--job").arg(dataset.job_dir()).arg("--identity").arg(dataset.identity());
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").stdin(Stdio::null());
    for name in ["AWS_PROFILE", "AWS_CA_BUNDLE", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY"] {
        command.env_remove(name);
    }
    command.envs(env.iter().copied()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

fn is_there(lab: &Lab) {
    let big = noise(1, 18 * MIB + 1);
    let same = lab.run(read_back(&lab.store, "data/big", big.len() as u64, packmule::digest::crc64(&big)));
    assert!(same.unwrap());
    assert_eq!(lab.run(lab.store.head("data/dir/small")).unwrap().unwrap().bytes, 70_000);
}

#[test]
fn over_tls_the_whole_job_is_done_by_the_embedded_server_and_by_garage() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let front = TlsFront::new(&lab.server.as_ref().unwrap().endpoint());
    let row = whole_job(&Target { trust: Some(front.trust()), ..target(&front.endpoint()) });
    assert_eq!(row.lie, "refused");
    let Some(garage) = Garage::start() else { return };
    let front = TlsFront::new(&garage.endpoint);
    let way = Target { endpoint_url: Some(front.endpoint()), trust: Some(front.trust()), ..garage.target() };
    assert_eq!(whole_job(&way).lie, "refused");
}

#[test]
fn a_server_whose_authority_nobody_knows_is_refused_and_the_way_out_is_named() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let front = TlsFront::new(&lab.server.as_ref().unwrap().endpoint());
    let dataset = dataset();
    let refused = ingest(&dataset, &front.endpoint(), &[], &[]);
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(7), "{said}");
    assert!(said.contains("certificate") && said.contains("--ca-bundle"), "{said}");
    let authority = front.authority();
    let trusted = ingest(&dataset, &front.endpoint(), &[], &[("AWS_CA_BUNDLE", authority.to_str().unwrap())]);
    assert!(trusted.status.success(), "{}", text(&trusted));
    is_there(&lab);
    let wrong = dataset.dir.path().join("no-certificate");
    std::fs::write(&wrong, "nothing").unwrap();
    let refused = ingest(&dataset, &front.endpoint(), &["--ca-bundle", wrong.to_str().unwrap()], &[]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("no certificate"), "{}", text(&refused));
}

#[test]
fn a_bucket_is_named_in_the_host_where_the_path_is_refused_and_through_a_proxy() {
    let quirks = Quirks { only_in_host_name: true, ..Quirks::default() };
    let lab = Lab::new(FaultPlan::default(), quirks);
    let proxy = lab.server.as_ref().unwrap().endpoint();
    let place = format!("http://{HOST_NAME}");
    let env = [("HTTP_PROXY", proxy.as_str())];
    let dataset = dataset();
    // Pinned to what this server refuses, and then free to find out.
    let pinned = ingest(&dataset, &place, &["--path-style", "true"], &env);
    assert_eq!(pinned.status.code(), Some(7), "{}", text(&pinned));
    let found = ingest(&dataset, &place, &[], &env);
    assert!(found.status.success(), "{}", text(&found));
    assert!(text(&found).contains("the bucket is named in: the host name"), "{}", text(&found));
    let again = ingest(&dataset, &place, &["--json"], &env);
    assert!(again.status.success(), "what was found is remembered: {}", text(&again));
    // The server as its neighbours on this machine see it has the same bucket under its path.
    let plain = Lab::restarted(lab, FaultPlan::default());
    is_there(&plain);
}

#[test]
fn who_may_not_list_still_finds_where_the_bucket_is_named_and_an_emptied_variable_is_none() {
    let faults = FaultPlan::default();
    faults.on_key(Operation::GetObject, "there-is-no-such-object", 1, Fault::Refuse(403, "AccessDenied"));
    let lab = Lab::new(faults.clone(), Quirks { only_in_host_name: true, ..Quirks::default() });
    let proxy = lab.server.as_ref().unwrap().endpoint();
    let env = [("HTTP_PROXY", proxy.as_str()), ("AWS_CA_BUNDLE", "")];
    let found = ingest(&dataset(), &format!("http://{HOST_NAME}"), &[], &env);
    assert!(found.status.success(), "{}", text(&found));
    assert!(faults.all_exercised());
    assert!(text(&found).contains("the bucket is named in: the host name"), "{}", text(&found));
}

#[test]
fn a_proxy_is_not_asked_for_a_server_on_this_machine() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let here = lab.server.as_ref().unwrap().endpoint();
    let dataset = dataset();
    let nobody = [("HTTP_PROXY", "http://127.0.0.1:1"), ("HTTPS_PROXY", "http://127.0.0.1:1")];
    let done = ingest(&dataset, &here, &[], &nobody);
    assert!(done.status.success(), "{}", text(&done));
    is_there(&lab);
}

#[test]
fn an_address_in_numbers_is_not_asked_where_it_wants_the_bucket() {
    let store = runtime().block_on(connect(target("http://127.0.0.1:1")));
    assert!(store.path_style());
}
