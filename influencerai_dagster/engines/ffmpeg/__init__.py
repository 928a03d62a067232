"""ffmpeg: turns frames or a video into an MP4 for the platforms, and verifies it."""
