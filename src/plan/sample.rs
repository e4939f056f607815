//! Random numbers that depend on nothing but a seed, a variable's name and a draw's number.
//!
//! Owns: the mixer (SplitMix64 over FNV-1a of the name), the Latin hypercube, and the single estimate (every uniform
//! 0.5). Does not own distributions. Invariants: adding an option, a variable or a thread changes no other number; the
//! draws of one variable fall once into each of N equal strata. Called by the planner only.

/// Random variables, each with its own name and so its own stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Var {
    LinkRate,
    FileCost,
    SourceFileCost,
    DeviceFileCost,
    Prepare,
    LineLead,
    FillRate,
    DevicePrep,
    DeviceStuck,
    TransitOut,
    TransitBack,
    Season,
    Pickup,
    Receive,
    Failure,
    DriveLead,
    Booking,
    Travel,
    DriveLoss,
    Cutover,
}

/// Every variable with the name its stream is made from.
pub(crate) const VARS: [(Var, &str); 20] = [
    (Var::LinkRate, "link-rate"),
    (Var::FileCost, "file-cost"),
    (Var::SourceFileCost, "source-file-cost"),
    (Var::DeviceFileCost, "device-file-cost"),
    (Var::Prepare, "prepare"),
    (Var::LineLead, "line-lead"),
    (Var::FillRate, "fill-rate"),
    (Var::DevicePrep, "device-prep"),
    (Var::DeviceStuck, "device-prep-stuck"),
    (Var::TransitOut, "transit-out"),
    (Var::TransitBack, "transit-back"),
    (Var::Season, "season"),
    (Var::Pickup, "pickup"),
    (Var::Receive, "receive"),
    (Var::Failure, "device-failure"),
    (Var::DriveLead, "drive-lead"),
    (Var::Booking, "terminal-booking"),
    (Var::Travel, "travel"),
    (Var::DriveLoss, "drive-loss"),
    (Var::Cutover, "cutover"),
];

impl Var {
    /// The variable's name in reports.
    pub(crate) fn name(self) -> &'static str {
        VARS.iter().find(|(var, _)| *var == self).map_or("", |(_, name)| name)
    }

    /// Whether each device or leg has its own number.
    const fn per_device(self) -> bool {
        matches!(
            self,
            Self::DevicePrep
                | Self::DeviceStuck
                | Self::TransitOut
                | Self::TransitBack
                | Self::Pickup
                | Self::Receive
                | Self::Failure
        )
    }
}

/// Devices whose numbers are stratified; later ones draw plain random numbers.
const STRATIFIED_DEVICES: usize = 24;

/// The uniforms of all draws.
#[derive(Debug)]
pub(crate) struct Sampler {
    seed: u64,
    draws: usize,
    /// Per variable and device, one uniform per draw.
    columns: Vec<Vec<Vec<f64>>>,
}

/// One draw: the uniforms of one possible world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw<'a> {
    sampler: Option<&'a Sampler>,
    index: usize,
    /// A variable moved to a given quantile, all else as it is.
    moved: Option<(Var, f64)>,
}

/// SplitMix64's output function.
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bits.
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// 53 bits as a number in 0..1.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / 9_007_199_254_740_992.0
}

impl Sampler {
    /// All uniforms of `draws` draws.
    pub(crate) fn new(seed: u64, draws: usize) -> Self {
        let columns = VARS
            .iter()
            .map(|(var, name)| {
                let devices = if var.per_device() { STRATIFIED_DEVICES } else { 1 };
                (0..devices).map(|device| column(seed, name, device, draws)).collect()
            })
            .collect();
        Self { seed, draws, columns }
    }

    /// How many draws there are.
    pub(crate) const fn len(&self) -> usize {
        self.draws
    }

    /// One of the draws.
    pub(crate) const fn draw(&self, index: usize) -> Draw<'_> {
        Draw { sampler: Some(self), index, moved: None }
    }
}

/// One Latin-hypercube column: a permutation of the strata, each with a random place inside it.
fn column(seed: u64, name: &str, device: usize, draws: usize) -> Vec<f64> {
    let stream = mix(seed ^ fnv1a(name) ^ mix(device as u64));
    let mut strata: Vec<usize> = (0..draws).collect();
    for last in (1..draws).rev() {
        let other = (mix(stream ^ mix(last as u64)) % (last as u64 + 1)) as usize;
        strata.swap(last, other);
    }
    let jitter = |draw: usize| unit(mix(stream.rotate_left(17) ^ mix(draw as u64)));
    strata.iter().enumerate().map(|(draw, stratum)| (*stratum as f64 + jitter(draw)) / draws as f64).collect()
}

impl Draw<'static> {
    /// The single estimate: every variable at its median.
    pub(crate) const MEDIAN: Self = Self { sampler: None, index: 0, moved: None };
}

impl Draw<'_> {
    /// The same draw with one variable at quantile `u`.
    pub(crate) const fn with(self, var: Var, u: f64) -> Self {
        Self { moved: Some((var, u)), ..self }
    }

    /// The uniform of a variable.
    pub(crate) fn u(&self, var: Var) -> f64 {
        self.u_of(var, 0)
    }

    /// The uniform of a variable for one device (or a repeated leg: any index is its own number).
    pub(crate) fn u_of(&self, var: Var, device: usize) -> f64 {
        if let Some((moved, u)) = self.moved
            && moved == var
        {
            return u;
        }
        let Some(sampler) = self.sampler else { return 0.5 };
        let column = sampler.columns.get(var as usize).and_then(|devices| devices.get(device));
        match column {
            Some(column) => column[self.index],
            None => unit(mix(mix(sampler.seed ^ fnv1a(var.name()) ^ mix(device as u64)) ^ mix(self.index as u64))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::dist::Dist;

    #[test]
    fn variables_are_in_order() {
        for (index, (var, _)) in VARS.iter().enumerate() {
            assert_eq!(*var as usize, index);
        }
    }

    #[test]
    fn each_stratum_is_hit_once() {
        let sampler = Sampler::new(7, 1000);
        let mut seen = vec![false; 1000];
        for index in 0..1000 {
            seen[(sampler.draw(index).u(Var::LinkRate) * 1000.0) as usize] = true;
        }
        assert!(seen.iter().all(|hit| *hit));
    }

    #[test]
    fn variables_and_devices_are_independent_streams() {
        let sampler = Sampler::new(7, 4096);
        let mean = |f: &dyn Fn(usize) -> f64| (0..4096).map(f).sum::<f64>() / 4096.0;
        let a = |i: usize| sampler.draw(i).u_of(Var::Receive, 0) - 0.5;
        let b = |i: usize| sampler.draw(i).u_of(Var::Receive, 1) - 0.5;
        let beyond = |i: usize| sampler.draw(i).u_of(Var::Receive, 5000) - 0.5;
        assert!((mean(&|i| a(i) * b(i)) * 12.0).abs() < 0.05);
        assert!((mean(&|i| a(i) * beyond(i)) * 12.0).abs() < 0.05);
        assert!(mean(&beyond).abs() < 0.02);
    }

    #[test]
    fn the_maximum_of_eight_lognormals_is_where_theory_puts_it() {
        let sampler = Sampler::new(1, 8192);
        let dist = Dist::lognormal(3.0, 6.0);
        let largest =
            |i: usize| (0..8).map(|d| dist.quantile(sampler.draw(i).u_of(Var::Receive, d))).fold(0.0, f64::max);
        let mut maxima: Vec<f64> = (0..8192).map(largest).collect();
        maxima.sort_by(f64::total_cmp);
        let at = |q| crate::plan::math::quantile(&maxima, q);
        assert!((at(0.5) - 6.35).abs() < 0.15, "{}", at(0.5));
        assert!((at(0.9) - 9.99).abs() < 0.35, "{}", at(0.9));
    }
}
