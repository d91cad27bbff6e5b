"""What families, features and defects are drawn with: fields, shapes, stamps, camera."""
