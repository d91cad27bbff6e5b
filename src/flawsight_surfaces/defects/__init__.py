"""What is wrong: one function per kind of defect."""
