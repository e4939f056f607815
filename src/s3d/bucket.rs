//! Buckets: create, find, list, delete.
//!
//! Owns: nothing but these few answers; this server has one region and no bucket settings.

use s3s::dto::*;
use s3s::{S3Result, s3_error};

use crate::s3d::attributes::timestamp;
use crate::s3d::backend::Backend;

impl Backend {
    pub(super) fn new_bucket(&self, input: &CreateBucketInput) -> S3Result<CreateBucketOutput> {
        if !self.store.create_bucket(&input.bucket)? {
            return Err(s3_error!(BucketAlreadyOwnedByYou, "you already own this bucket"));
        }
        Ok(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) })
    }

    pub(super) fn all_buckets(&self) -> S3Result<ListBucketsOutput> {
        let buckets = self.store.buckets()?.into_iter().map(|(name, created_ms)| Bucket {
            name: Some(name),
            creation_date: Some(timestamp(created_ms)),
            ..Default::default()
        });
        let owner = Owner { id: Some("packmule".to_owned()), ..Default::default() };
        Ok(ListBucketsOutput { buckets: Some(buckets.collect()), owner: Some(owner), ..Default::default() })
    }

    pub(super) fn drop_bucket(&self, input: &DeleteBucketInput) -> S3Result<DeleteBucketOutput> {
        self.store.need_bucket(&input.bucket)?;
        self.store.delete_bucket(&input.bucket)?;
        Ok(DeleteBucketOutput::default())
    }
}
