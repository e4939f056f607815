//! Oracle cases about money and about carrying disks, computed by the planner's own bill functions.

use packmule::plan::network::sustained;
use packmule::plan::prices::{DeviceBill, capped_plan, per_gb, per_thousand, port_hours, rent};
use packmule::units::{Bytes, Days, Usd};

use crate::plan_kinds::{Answers, Given, put, put_bill, put_rate, put_time};

fn gigabytes(given: &Given, key: &str) -> Bytes {
    Bytes::new((given.or(key, 0.0) * 1e9).round() as u64)
}

/// Computes a case about money; `None` for a kind that is not known.
pub(crate) fn compute(kind: &str, given: &Given, out: &mut Answers) -> Option<()> {
    let seconds = |days: Days| days.secs().round() as u64;
    let devices = given.or("devices", 1.0) as u64;
    let bill = match kind {
        "dx_cost" | "egress_cost" => {
            let ports = given.or("ports", 1.0) as u64;
            let hours =
                given.usd("port_usd_per_hour").times_ratio((given.or("port_hours", 730.0) * 3600.0) as u64, 3600);
            let monthly = given.usd("port_usd_per_month").times(given.or("months", 1.0) as u64);
            let other = given.usd("cross_connect_usd") + given.usd("partner_usd") + given.usd("fixed_usd");
            let out_bytes = gigabytes(given, "egress_gb").saturating_sub(gigabytes(given, "free_gb"));
            let price = if given.number("egress_usd_per_gb").is_some() { "egress_usd_per_gb" } else { "usd_per_gb" };
            (hours + monthly).times(ports) + other + per_gb(given.usd(price), out_bytes)
        }
        "ingress_cost" => per_gb(given.usd("usd_per_gb"), gigabytes(given, "gb")),
        "datasync_cost" | "datasync_total" | "s3_put_cost" => {
            let runs = given.or("task_executions", 1.0) as u64;
            let price = if given.number("usd_per_1000_put").is_some() { "usd_per_1000_put" } else { "usd_per_1000" };
            per_gb(given.usd("usd_per_gb"), gigabytes(given, "gb"))
                + given.usd("usd_per_task_execution").times(runs)
                + per_thousand(given.usd(price), given.or("requests", 0.0) as u64)
        }
        "snow_cost" | "appliance_cost" => {
            let each = DeviceBill {
                fee: given.usd("fee_usd"),
                included_days: given.or("included_days", 0.0) as u64,
                days_used: given.or("days_used", 0.0) as u64,
                extra_day: given.usd("extra_day_usd"),
                shipping: given.usd("shipping_usd"),
            };
            each.total().times(devices)
        }
        "import_export_cost" => {
            let load = sustained(given.size()?, given.rate()?, 24.0);
            port_hours(given.usd("load_usd_per_hour"), 1, seconds(load))
                + given.usd("device_fee_usd").times(devices)
                + given.usd("shipping_usd")
        }
        "capped_plan_cost" => {
            let bytes = |key: &str| Bytes::new((given.or(key, 0.0) * 1e12).round() as u64);
            capped_plan(given.usd("plan_usd"), bytes("plan_tb"), bytes("used_tb"), given.usd("overage_usd_per_gb"))
        }
        "dtt_cost" => {
            let time = given.time(&[""]).or_else(|| Some(sustained(given.size()?, given.rate()?, 24.0)))?;
            let ports = given.or("ports", 1.0) as u64;
            put(out, "port_hours", (seconds(time).div_ceil(3600) * ports) as f64);
            port_hours(given.usd("usd_per_port_hour"), ports, seconds(time))
        }
        "line_rent" => {
            let time = sustained(given.size()?, given.rate()?, 24.0);
            put_time(out, time);
            let monthly = if given.number("usd_per_30_days").is_some() { "usd_per_30_days" } else { "usd_per_month" };
            rent(given.usd(monthly), seconds(time))
        }
        "line_cost_per_mb" => {
            let day = given.rate()?.get() * 86_400.0;
            let usd = given.or("usd_per_day", 0.0);
            put(out, "usd_per_mb", usd / (day / 1e6));
            put(out, "usd_per_gb", usd / (day / 1e9));
            return Some(());
        }
        "sneakernet" => return sneakernet(given, out),
        _ => return None,
    };
    put_bill(out, given, bill);
    Some(())
}

/// Disks by parcel, by car or by the fleet-full: rate, and cost per size.
fn sneakernet(given: &Given, out: &mut Answers) -> Option<()> {
    const GRAMS_PER_POUND: f64 = 453.592_37;
    if let Some(size) = given.size() {
        let parts =
            ["transit", "copy", "read", "write", "load"].map(|stem| given.time(&[stem]).map_or(0.0, Days::secs));
        let total: f64 = parts.iter().sum();
        if total > 0.0 {
            put_time(out, Days::from_secs(total));
            put_rate(out, size.get() as f64 / total);
        }
    }
    if let Some(pounds) = given.number("lift_lb_per_day") {
        let bytes = pounds * GRAMS_PER_POUND / given.number("grams_per_tb")? * 1e12;
        put(out, "eb_per_day", bytes / 1e18);
        put(out, "pb_per_day", bytes / 1e15);
        put(out, "tb_per_day", bytes / 1e12);
        put_rate(out, bytes / 86_400.0);
    }
    let miles = given.or("distance_miles", 0.0);
    let drive =
        miles * given.or("usd_per_mile", 0.0) + given.or("driver_usd_per_hour", 0.0) * given.or("driver_hours", 0.0);
    let usd = drive
        + given.or("per_diem_usd", 0.0)
        + given.or("cost_usd", 0.0)
        + given.or("shipping_usd", 0.0)
        + given.or("drives_usd", 0.0);
    if usd > 0.0 {
        put_bill(out, given, Usd::from_f64(usd));
    }
    Some(())
}
