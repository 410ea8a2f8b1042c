"""gRPC gateway of SegDepth: ordered, resumable streams of frames onto Ray Serve replicas."""
