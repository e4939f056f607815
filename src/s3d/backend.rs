//! The table of S3 operations this server answers; each is one call into the file that owns it.
//!
//! Owns: nothing but the table. What is missing here is answered `NotImplemented` by the protocol crate.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::s3d::fault::Quirks;
use crate::s3d::store::Store;

pub(super) struct Backend {
    pub(super) store: Arc<Store>,
    pub(super) quirks: Quirks,
}

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait::async_trait]
impl S3 for Backend {
    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
        self.all_buckets().map(S3Response::new)
    }
    async fn create_bucket(&self, r: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        self.new_bucket(&r.input).map(S3Response::new)
    }
    async fn delete_bucket(&self, r: S3Request<DeleteBucketInput>) -> Answer<DeleteBucketOutput> {
        self.drop_bucket(&r.input).map(S3Response::new)
    }
    async fn head_bucket(&self, r: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.store.need_bucket(&r.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }
    async fn get_bucket_location(&self, r: S3Request<GetBucketLocationInput>) -> Answer<GetBucketLocationOutput> {
        self.store.need_bucket(&r.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }
    async fn put_object(&self, r: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        self.put(r).await.map(S3Response::new)
    }
    async fn copy_object(&self, r: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        self.copy(r).await.map(S3Response::new)
    }
    async fn get_object(&self, r: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        self.get(&r.input).map(S3Response::new)
    }
    async fn head_object(&self, r: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        self.head(&r.input).map(S3Response::new)
    }
    async fn get_object_attributes(&self, r: S3Request<GetObjectAttributesInput>) -> Answer<GetObjectAttributesOutput> {
        self.attributes(&r.input).map(S3Response::new)
    }
    async fn delete_object(&self, r: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        self.delete(&r.input).map(S3Response::new)
    }
    async fn delete_objects(&self, r: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        self.delete_many(r.input).map(S3Response::new)
    }
    async fn get_object_tagging(&self, r: S3Request<GetObjectTaggingInput>) -> Answer<GetObjectTaggingOutput> {
        self.tags(&r.input).map(S3Response::new)
    }
    async fn put_object_tagging(&self, r: S3Request<PutObjectTaggingInput>) -> Answer<PutObjectTaggingOutput> {
        self.set_tags(&r.input.bucket, &r.input.key, r.input.tagging.tag_set)?;
        Ok(S3Response::new(PutObjectTaggingOutput::default()))
    }
    async fn delete_object_tagging(&self, r: S3Request<DeleteObjectTaggingInput>) -> Answer<DeleteObjectTaggingOutput> {
        self.set_tags(&r.input.bucket, &r.input.key, Vec::new())?;
        Ok(S3Response::new(DeleteObjectTaggingOutput::default()))
    }
    async fn list_objects(&self, r: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        self.list_v1(r.input).map(S3Response::new)
    }
    async fn list_objects_v2(&self, r: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        self.list_v2(r.input).map(S3Response::new)
    }
    async fn create_multipart_upload(
        &self,
        r: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        self.create_upload(&r.input).map(S3Response::new)
    }
    async fn upload_part(&self, r: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        self.put_part(r).await.map(S3Response::new)
    }
    async fn list_parts(&self, r: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        self.list_parts_page(&r.input).map(S3Response::new)
    }
    async fn list_multipart_uploads(
        &self,
        r: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        self.list_uploads(r.input).map(S3Response::new)
    }
    async fn complete_multipart_upload(
        &self,
        r: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        self.complete_upload(r.input).map(S3Response::new)
    }
    async fn abort_multipart_upload(
        &self,
        r: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        self.abort_upload(&r.input).map(S3Response::new)
    }
}
