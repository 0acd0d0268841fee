package sidecar

import (
	"fmt"
	"strings"
)

// normalizePath does to a request target's path what Envoy does with normalize_path, which Istio turns on: dot
// segments are resolved, percent-encoded unreserved characters are decoded, characters that no path may hold are
// encoded, a backslash becomes a slash; doubled slashes and encoded slashes stay. The query is left alone. ok is false
// for a target with a fragment or an encoded null, which Envoy refuses.
func normalizePath(target string) (path string, ok bool) {
	if strings.IndexByte(target, '#') >= 0 {
		return target, false
	}
	path, query := target, ""
	if i := strings.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i:]
	}
	if !strings.ContainsAny(path, "%\\"+unfit) && !strings.Contains(path, "/.") {
		return target, true
	}
	if strings.Contains(path, "%00") {
		return target, false
	}
	return removeDots(decodeUnreserved(path)) + query, true
}

// unfit are the printable characters that a path may hold only encoded.
const unfit = "\"<>^`{|}"

func decodeUnreserved(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\':
			b.WriteByte('/')
		case c == '%' && i+2 < len(path) && unhex(path[i+1]) >= 0 && unhex(path[i+2]) >= 0:
			if d := byte(unhex(path[i+1])<<4 | unhex(path[i+2])); isUnreserved(d) {
				b.WriteByte(d)
			} else {
				b.WriteString(path[i : i+3])
			}
			i += 2
		case strings.IndexByte(unfit, c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// removeDots resolves "." and ".." (RFC 3986 section 5.2.4) and keeps empty segments.
func removeDots(path string) string {
	segments := strings.Split(path, "/")
	kept := segments[:0]
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".":
			if last {
				kept = append(kept, "")
			}
		case "..":
			if len(kept) > 1 {
				kept = kept[:len(kept)-1]
			}
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, "/")
}

// isUnreserved is RFC 3986 section 2.3.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
