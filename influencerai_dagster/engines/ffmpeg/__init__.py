"""ffmpeg: frames or a clip to a platform-ready MP4, and the proof that it is one."""
