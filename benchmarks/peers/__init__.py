"""The engines that compare_cpu.py runs side by side, each in a process of its own."""
