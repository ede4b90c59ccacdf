//! Every tool format, read to findings and written from detections. Pure; knows no Kafka.
