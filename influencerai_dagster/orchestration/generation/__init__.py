"""The worker run of the job queue, its assets, checks and sensors."""
