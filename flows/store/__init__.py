"""The store: blobs by sha256 and small JSON documents, in a folder or in S3."""
