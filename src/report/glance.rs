//! The same figures as a pass over all entries gives, from the ledgers alone.

use crate::job::{Count, Job, ObjectState, State};
use crate::report::facts::EXAMPLES_MAX;
use crate::report::{Error, Lists, Stage};

/// What the lists of a report would hold.
pub(super) fn lists(job: &Job, stage: Stage) -> Result<Lists, Error> {
    let ledger = job.ledger()?;
    let mut lists = Lists { success: ledger.state(State::Staged), ..Lists::default() };
    let fail = |lists: &mut Lists, reason, count: Count| {
        if count.entries > 0 {
            lists.reasons.insert(reason, count);
            lists.failure = lists.failure + count;
        }
    };
    fail(&mut lists, "changed", ledger.state(State::Changed));
    fail(&mut lists, "pending", ledger.state(State::Pending));
    let mut without_entry = 0;
    job.loose_problems(|_| without_entry += 1)?;
    lists.without_entry = without_entry;
    fail(&mut lists, "problem", ledger.state(State::Problem) + Count { entries: without_entry, bytes: 0 });
    if stage == Stage::Completion {
        let mut not_sent = ledger.staged();
        if let Some(top) = job.find(b"")?.map(|top| job.entry(top)).transpose()?.flatten()
            && top.state.is_staged()
            && job.object(top.id)?.is_none_or(|object| object.generation != top.generation)
        {
            not_sent = less(not_sent, Count { entries: 1, bytes: 0 }); // it has a name in S3 only under a prefix
        }
        for (state, count) in job.object_ledger()? {
            match state {
                ObjectState::Failed => fail(&mut lists, "refused", count),
                ObjectState::Uploading => fail(&mut lists, "uploading", count),
                ObjectState::Arrived | ObjectState::Confirmed | ObjectState::ReadBack => {}
            }
            not_sent = less(not_sent, count);
        }
        fail(&mut lists, "not-sent", not_sent);
        let unsent =
            ["refused", "uploading", "not-sent"].iter().filter_map(|reason| lists.reasons.get(reason)).copied();
        lists.success = less(lists.success, unsent.sum());
    }
    let problems = job.problems(0, EXAMPLES_MAX)?;
    lists.examples = problems.into_iter().map(|known| (known.problem.path, known.problem.text)).collect();
    Ok(lists)
}

fn less(count: Count, by: Count) -> Count {
    Count { entries: count.entries.saturating_sub(by.entries), bytes: count.bytes.saturating_sub(by.bytes) }
}
