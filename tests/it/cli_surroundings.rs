//! The program in other people's surroundings: locales, colours, places of settings, closed pipes.

use crate::stage_kit::said;
use crate::story_kit::Story;

const STAGE: &str = "packmule stage /data --volume /mnt/a --job ~/jobs/lab --unlock-code-file code.txt";

#[test]
fn what_is_printed_does_not_depend_on_the_locale() {
    let story = Story::new();
    story.succeed("printf x > '/data/notes/\u{131}\u{15f}\u{131}k I i.txt'");
    story.succeed(STAGE);
    let ask = "packmule status --job ~/jobs/lab; packmule report --job ~/jobs/lab --format csv
               packmule plan --size 40TB --link 1Gbit/s --as-of 2026-11-24 --deadline 2027-01-15
               packmule ls /mnt/a --unlock-code-file code.txt; packmule help stage
               packmule scan /data --exclude '*.RAW' | grep -v '^reads '";
    let plain = story.succeed(ask);
    assert!(plain.contains("\u{131}\u{15f}\u{131}k I i.txt"), "{plain}");
    for locale in ["C", "POSIX", "tr_TR.UTF-8", "de_DE.UTF-8", "no-such-locale"] {
        let said = story.succeed(&format!("export LC_ALL={locale} LANG={locale} LANGUAGE=tr\n{ask}"));
        assert_eq!(said, plain, "{locale}");
    }
}

#[test]
fn dates_are_iso_in_utc_whatever_the_time_zone() {
    let story = Story::new();
    story.succeed(STAGE);
    let report = "packmule report --job ~/jobs/lab | grep '  made '";
    let plain = story.succeed(report);
    assert!(plain.trim_end().ends_with(" UTC"), "{plain}");
    assert_eq!(story.succeed(&format!("TZ=Asia/Kathmandu {report}")), plain);
}

/// Runs a line on a terminal of its own, which `script` of util-linux gives; `None` where that is not installed.
fn on_a_terminal(story: &Story, line: &str, typed: &str) -> Option<String> {
    let output = story.run("command -v script");
    if !output.status.success() {
        eprintln!("SKIPPED: no program `script` that gives a terminal");
        return None;
    }
    // Where nothing is typed no pipe either: `script` waits two seconds at the end of one.
    let typed = if typed.is_empty() { "true".to_owned() } else { format!("printf \"%s\\n\" {typed}") };
    let from = if typed == "true" { "< /dev/null" } else { "" };
    let output = story.run(&format!("{typed} | timeout 60 script -qec '{line}' /dev/null {from}"));
    Some(said(&output))
}

#[test]
fn no_color_leaves_no_colours_on_a_terminal() {
    let story = Story::new();
    // On a terminal help is coloured, so the test can tell.
    let Some(coloured) = on_a_terminal(&story, "TERM=xterm-256color packmule help stage", "") else { return };
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    for line in ["packmule help stage", "packmule stage --no-such-option", "packmule", "packmule scan data"] {
        for value in ["1", "yes", "0"] {
            let said = on_a_terminal(&story, &format!("NO_COLOR={value} TERM=xterm-256color {line}"), "").unwrap();
            // Movements of the cursor are no colours: those end in `m`.
            let is_colour =
                |rest: &str| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m');
            assert!(!said.split("\u{1b}[").skip(1).any(is_colour), "NO_COLOR={value} {line}: {said:?}");
        }
    }
}

#[test]
fn user_settings_are_found_where_xdg_says() {
    let story = Story::new();
    story.succeed(
        "mkdir -p ~/.config/packmule ~/elsewhere/packmule ~/relative/packmule
         echo 'memory = \"111MiB\"' > ~/.config/packmule/config.toml
         echo 'memory = \"222MiB\"' > ~/elsewhere/packmule/config.toml
         echo 'memory = \"333MiB\"' > ~/relative/packmule/config.toml",
    );
    let memory = |settings: &str| story.succeed(&format!("{settings} packmule config --job ~/jobs/none"));
    assert!(memory("XDG_CONFIG_HOME=").contains("111MiB"), "empty is as if it were not set");
    assert!(memory("XDG_CONFIG_HOME=~/elsewhere").contains("222MiB"));
    assert!(memory("XDG_CONFIG_HOME=relative").contains("111MiB"), "a relative path is to be ignored");
    assert!(memory("PACKMULE_CONFIG=~/relative/packmule/config.toml XDG_CONFIG_HOME=~/elsewhere").contains("333MiB"));
    // No home at all is no reason to fail.
    story.succeed("env -u HOME -u XDG_CONFIG_HOME packmule scan /data");
    // Nothing is left behind in the home but what was asked for.
    story.succeed(STAGE);
    let left = story.succeed("cd; ls -A");
    assert_eq!(left, ".config\ncode.txt\nelsewhere\njobs\nrelative\n");
}

#[test]
fn a_reader_that_goes_away_is_no_failure_with_a_trace() {
    let story = Story::new();
    let output =
        story.run("packmule help stage | head -n 1; packmule plan --size 1TB --link 1Gbit/s --all | head -n 1");
    assert!(!said(&output).contains("panicked"), "{}", said(&output));
}

#[test]
fn init_asks_again_when_what_was_typed_cannot_be() {
    let story = Story::new();
    let typed = "/data/none /data '' /mnt/later /mnt/later '' nobody '' bucket/x s3://lab-archive/x";
    let Some(said) = on_a_terminal(&story, "packmule init --job jobs/asked", typed) else { return };
    for heard in
        ["none is not there; the same again keeps it", "recipient nobody is not usable", "is not a place in S3"]
    {
        assert!(said.contains(heard), "{heard}: {said}");
    }
    let file = std::fs::read_to_string(story.path("home/jobs/asked/job.toml")).unwrap();
    assert!(file.contains("/data\"") && file.contains("later\"") && file.contains("s3://lab-archive/x"), "{file}");
    assert!(!file.contains("none") && !file.contains("nobody"), "{file}");
}
