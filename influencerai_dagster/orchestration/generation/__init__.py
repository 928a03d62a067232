"""Define the runs that work on the job queue, their assets, checks and sensors."""
