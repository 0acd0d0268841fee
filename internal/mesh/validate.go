package mesh

// validate checks one resource by itself; references checks what it names in the mesh as it would be.
func validate(r *Resource) []Problem { return nil }

func references(s *Snapshot, r *Resource) []Problem { return nil }
