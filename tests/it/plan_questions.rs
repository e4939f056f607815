//! The questions that course notes ask about data that keeps changing, each put to the planner as a situation, not as a
//! question: rates, readers, sizes and times go in, a service sized from limits comes out.

use packmule::plan::catalogue::Catalogue;
use packmule::plan::dataset::{ChangeSource, SourceKind};
use packmule::plan::{ServiceAdvice, advise_one};
use packmule::units::{Bytes, BytesPerSecond, Days, Span};

fn advise(source: &ChangeSource) -> ServiceAdvice {
    advise_one(&Catalogue::builtin().expect("valid"), source, Days::new(12.0), true)
}

fn source(kind: SourceKind) -> ChangeSource {
    ChangeSource {
        name: "x".to_owned(),
        kind,
        rate: BytesPerSecond::new(500e3),
        records_per_s: 500.0,
        ..ChangeSource::default()
    }
}

fn said(advice: &ServiceAdvice, word: &str) -> bool {
    let all = advice.reasons.iter().chain(&advice.sizing).chain(&advice.warnings);
    all.into_iter().any(|line| line.contains(word))
}

#[test]
fn things_that_must_be_seen_within_ten_seconds_by_several_go_to_a_stream() {
    let things = ChangeSource {
        latency_s: 10.0,
        consumers: 2,
        replay: true,
        protocol: "mqtt".to_owned(),
        count: 100,
        ..source(SourceKind::Devices)
    };
    let advice = advise(&things);
    assert!(advice.service.ends_with("Kinesis Data Streams"), "{}", advice.service);
    assert!(advice.delay_s.expect("known") < 10.0);
}

#[test]
fn managed_delivery_to_s3_paid_by_use_is_firehose() {
    let advice = advise(&ChangeSource { managed: true, ..source(SourceKind::Stream) });
    assert_eq!(advice.service, "Data Firehose");
    assert!(said(&advice, "DynamoDB is not a target") && said(&advice, "Spark cannot read from it"));
    let fast = advise(&ChangeSource { managed: true, rate: BytesPerSecond::new(8e6), ..source(SourceKind::Stream) });
    assert!(fast.delay_s < advice.delay_s, "a full buffer goes out before its time is up");
}

#[test]
fn many_tiny_records_call_for_the_producer_library_and_own_compression() {
    let tiny = ChangeSource {
        records_per_s: 10_000.0,
        rate: BytesPerSecond::new(1e6),
        consumers: 2,
        ..source(SourceKind::Stream)
    };
    let advice = advise(&tiny);
    assert!(advice.service.starts_with("Kinesis Producer Library"), "{}", advice.service);
    assert!(said(&advice, "max(1, 10)") && said(&advice, "does not compress"));
}

#[test]
fn log_files_of_servers_are_sent_by_the_agent() {
    let advice = advise(&ChangeSource { consumers: 3, count: 200, ..source(SourceKind::Log) });
    assert!(advice.service.starts_with("Kinesis Agent") && said(&advice, "retries"), "{}", advice.service);
}

#[test]
fn ten_polling_readers_wait_two_seconds_and_ten_pushed_to_seventy_milliseconds() {
    let ten = ChangeSource { consumers: 10, ..source(SourceKind::Stream) };
    assert_eq!(advise(&ten).delay_s, Some(2.0));
    let pushed = advise(&ChangeSource { latency_s: 0.5, ..ten.clone() });
    assert_eq!(pushed.delay_s, Some(0.07));
    assert!(said(&pushed, "fan-out"));
    let crowd = advise(&ChangeSource { consumers: 30, latency_s: 0.5, ..ten });
    assert!(said(&crowd, "over 20 fan-out consumers"), "the limit is today's, not 5");
}

#[test]
fn a_reader_slower_than_its_shards_is_held_up_elsewhere() {
    let lag = ChangeSource {
        shards: 10,
        rate: BytesPerSecond::new(8e6),
        observed_read: BytesPerSecond::new(2e6),
        consumers: 1,
        replay: true,
        ..source(SourceKind::Stream)
    };
    assert!(said(&advise(&lag), "DynamoDB capacity"));
    let starved = ChangeSource { shards: 1, ..lag };
    assert!(said(&advise(&starved), "split shards"));
}

#[test]
fn a_stream_grows_by_splitting_shards() {
    let grow = ChangeSource {
        shards: 1000,
        rate: BytesPerSecond::new(2000e6),
        replay: true,
        consumers: 1,
        ..source(SourceKind::Stream)
    };
    let advice = advise(&grow);
    // 1,000 splits at 30 s each are 8.3 hours.
    assert!(said(&advice, "splitting") && said(&advice, "8.3 hours"), "{:?}", advice.sizing);
}

#[test]
fn work_that_is_done_once_is_queued() {
    let queue = advise(&ChangeSource { record_max: Bytes::new(2_000_000), ..source(SourceKind::Messages) });
    assert_eq!(queue.service, "SQS standard");
    assert!(said(&queue, "deleted") && said(&queue, "extended client"));
    let ordered = advise(&ChangeSource { ordered: true, records_per_s: 5000.0, ..source(SourceKind::Messages) });
    assert!(ordered.service == "SQS FIFO" && said(&ordered, "high-throughput"));
    let long = advise_one(&Catalogue::builtin().expect("valid"), &source(SourceKind::Messages), Days::new(30.0), true);
    assert!(said(&long, "keeps messages for 14 days"));
}

#[test]
fn things_forward_by_a_rule_cannot_speak_ftp_and_keep_a_shadow() {
    let things = ChangeSource {
        managed: true,
        protocol: "ftp".to_owned(),
        set_state: true,
        count: 10,
        ..source(SourceKind::Devices)
    };
    let advice = advise(&things);
    assert_eq!(advice.service, "IoT Core topic -> rule action -> Data Firehose");
    assert!(said(&advice, "does not speak FTP") && said(&advice, "device shadow"));
}

#[test]
fn a_database_is_replicated_and_its_log_must_outlast_the_bulk() {
    let database = ChangeSource {
        engine: "MySQL".to_owned(),
        target_engine: "Aurora MySQL".to_owned(),
        log_kept: Span::from_secs(3 * 86_400),
        size: Bytes::new(2_000_000_000_000),
        ..source(SourceKind::Database)
    };
    let advice = advise(&database);
    assert!(advice.service.contains("Database Migration Service"));
    assert!(said(&advice, "starts with a gap") && said(&advice, "convert the schema"));
    let same =
        advise(&ChangeSource { target_engine: "mysql".to_owned(), log_kept: Span::from_secs(30 * 86_400), ..database });
    assert!(said(&same, "homogeneous") && !said(&same, "gap"));
}

#[test]
fn every_limit_used_is_named_with_what_older_notes_taught() {
    let advice = advise(&ChangeSource { consumers: 2, ..source(SourceKind::Stream) });
    let retention = advice.limits.iter().find(|limit| limit.id == "kds-retention").expect("used");
    assert!(retention.today.starts_with("8760") && retention.once.as_deref() == Some("168 hours"));
}

#[test]
fn limits_are_those_of_the_region_and_prices_have_an_alternative() {
    let catalogue = Catalogue::builtin().expect("valid");
    let stream = ChangeSource { replay: true, consumers: 1, ..source(SourceKind::Stream) };
    let large = advise_one(&catalogue, &stream, Days::new(12.0), true);
    let small = advise_one(&catalogue, &stream, Days::new(12.0), false);
    assert!(said(&large, "up to 10 GB/s") && said(&small, "up to 200 MB/s"), "{:?} {:?}", large.sizing, small.sizing);
    assert!(said(&large, "on demand") && large.per_month > packmule::units::Usd::ZERO);
    let longer = advise_one(&catalogue, &stream, Days::new(60.0), true);
    assert!(longer.per_month > large.per_month, "keeping records longer costs more");
}

#[test]
fn a_database_catches_up_in_backlog_over_apply_less_change() {
    let busy = ChangeSource {
        rate: BytesPerSecond::new(2e6),
        apply_rate: BytesPerSecond::new(5e6),
        size: Bytes::new(2_000_000_000_000),
        log_kept: Span::from_secs(30 * 86_400),
        ..source(SourceKind::Database)
    };
    // Twelve days of 2 MB/s, drained at 3 MB/s, are eight days.
    assert!(said(&advise(&busy), "= 8 days"), "{:?}", advise(&busy).sizing);
    let slow = ChangeSource { apply_rate: BytesPerSecond::new(1e6), ..busy };
    assert!(said(&advise(&slow), "never catches up"));
}

#[test]
fn firehose_bills_large_records_once() {
    let of = |records: f64, rate: f64| {
        let stream = ChangeSource {
            managed: true,
            records_per_s: records,
            rate: BytesPerSecond::new(rate),
            ..source(SourceKind::Stream)
        };
        advise(&stream).per_month.to_f64()
    };
    assert!((of(50.0, 500e3) - of(100.0, 500e3)).abs() < 0.01, "10,000 bytes are two steps of 5,000, no more");
    assert!(of(500.0, 500e3) > 4.9 * of(100.0, 500e3), "1,000 bytes are billed as 5,000");
}
