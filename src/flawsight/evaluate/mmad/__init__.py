"""MMAD's protocol: multiple-choice questions about images, and the accuracy of the answers."""
