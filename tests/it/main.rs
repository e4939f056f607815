//! The one integration binary: linking once keeps the inner loop fast.
