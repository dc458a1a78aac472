"""The matrix tier: commands run inside emulated Debian kernels."""
