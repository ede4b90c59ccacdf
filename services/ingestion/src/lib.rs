//! Takes what tools send: HTTP, files, directories, tables.
