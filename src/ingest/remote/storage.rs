//! What a storage class costs those who do not expect it.
//!
//! Owns: minimum sizes and times and retrieval of the classes, and the sentences about them. Pure. Sources: Amazon S3
//! user guide, "Understanding and managing Amazon S3 storage classes" and "Amazon S3 pricing" (2026-10).

/// What is special about a storage class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageClass {
    /// S3's name.
    pub name: &'static str,
    /// Objects below this are billed as if they had this size. Unit: bytes.
    pub bytes_min: u64,
    /// Bytes that each object costs on top of its own, for index and metadata. Unit: bytes.
    pub overhead_bytes: u64,
    /// Days that are billed even if the object is deleted before.
    pub days_min: u32,
    /// Whether reading needs a restore first.
    pub needs_restore: bool,
    /// Whether reading costs per byte.
    pub retrieval_fee: bool,
}

const KIB: u64 = 1 << 10;

const fn class(name: &'static str, bytes_min: u64, overhead_bytes: u64, days_min: u32) -> StorageClass {
    StorageClass { name, bytes_min, overhead_bytes, days_min, needs_restore: false, retrieval_fee: true }
}

/// The classes an upload can name, with what is special about them.
const CLASSES: [StorageClass; 9] = [
    StorageClass { retrieval_fee: false, ..class("STANDARD", 0, 0, 0) },
    StorageClass { retrieval_fee: false, ..class("REDUCED_REDUNDANCY", 0, 0, 0) },
    StorageClass { retrieval_fee: false, ..class("INTELLIGENT_TIERING", 0, 0, 0) },
    StorageClass { retrieval_fee: false, ..class("EXPRESS_ONEZONE", 0, 0, 0) },
    class("STANDARD_IA", 128 * KIB, 0, 30),
    class("ONEZONE_IA", 128 * KIB, 0, 30),
    class("GLACIER_IR", 128 * KIB, 0, 90),
    StorageClass { needs_restore: true, ..class("GLACIER", 0, 40 * KIB, 90) },
    StorageClass { needs_restore: true, ..class("DEEP_ARCHIVE", 0, 40 * KIB, 180) },
];

/// The class of that name; `None` for names that only some other server knows.
pub fn storage_class(name: &str) -> Option<&'static StorageClass> {
    CLASSES.iter().find(|class| class.name == name)
}

impl StorageClass {
    /// Size below which small files cost visibly more than their bytes. Unit: bytes.
    pub fn small_bytes(&self) -> u64 {
        self.bytes_min.max(self.overhead_bytes)
    }

    /// What to know before so many objects, `small` of them below [`Self::small_bytes`], go there. One sentence each.
    pub fn warnings(&self, objects: u64, small: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        let name = self.name;
        if self.bytes_min > 0 && small > 0 {
            let kib = self.bytes_min / KIB;
            warnings
                .push(format!("{small} of {objects} objects are below {kib} KiB, and {name} bills each as {kib} KiB"));
        }
        if self.overhead_bytes > 0 && small > 0 {
            let kib = self.overhead_bytes / KIB;
            warnings.push(format!(
                "{name} adds {kib} KiB to every object, and {small} of {objects} are smaller than that; --bundle packs them"
            ));
        }
        if self.days_min > 0 {
            warnings.push(format!(
                "{name} bills at least {} days, also when an object is deleted or replaced",
                self.days_min
            ));
        }
        if self.needs_restore {
            warnings
                .push(format!("objects in {name} have to be restored, for hours and a fee, before they can be read"));
        } else if self.retrieval_fee {
            warnings.push(format!("reading from {name} costs a fee per byte"));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_warns_of_what_it_costs_and_the_usual_one_of_nothing() {
        let warnings = |name: &str| storage_class(name).expect("a class").warnings(100, 7);
        assert!(warnings("STANDARD").is_empty());
        assert!(warnings("DEEP_ARCHIVE").iter().any(|text| text.contains("180 days")));
        assert!(warnings("DEEP_ARCHIVE").iter().any(|text| text.contains("restored")));
        assert!(warnings("GLACIER_IR").iter().any(|text| text.contains("7 of 100 objects are below 128 KiB")));
        assert_eq!(storage_class("HOT"), None);
    }
}
