"""Turn frames or a video into an MP4 for the platforms with ffmpeg, and verify it."""
