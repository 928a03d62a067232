"""ffmpeg: frames or a video to a platform-ready MP4, and the proof that it is one."""
