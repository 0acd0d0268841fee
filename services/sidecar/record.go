package sidecar

// record writes the log line and counts.
func (x *exchange) record() {}
