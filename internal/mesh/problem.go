package mesh

import (
	"fmt"
	"strings"
)

// Problem is one finding about a file, as istioctl analyze reports it.
type Problem struct {
	// Warning tells that the rest of the resource is applied nevertheless.
	Warning bool `json:"warning,omitempty"`
	// Code is istioctl's, for example "IST0101"; "" where it has none.
	Code string `json:"code,omitempty"`
	// Resource is "VirtualService default/reviews"; "" if the document could not be read that far.
	Resource string `json:"resource,omitempty"`
	File     string `json:"file"`
	// Line counts from 1.
	Line int `json:"line"`
	// Field is the path: "spec.http[0].route[1].weight".
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

// String is one line: "Error [IST0101] (VirtualService default/reviews reviews.yaml:9) spec.…: Referenced host not found".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString("Error")
	if p.Warning {
		b.Reset()
		b.WriteString("Warning")
	}
	if p.Code != "" {
		b.WriteString(" [" + p.Code + "]")
	}
	b.WriteString(" (")
	if p.Resource != "" {
		b.WriteString(p.Resource + " ")
	}
	fmt.Fprintf(&b, "%s:%d) ", p.File, p.Line)
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// istioctl's codes (istio/pkg/config/analysis/msg/messages.yaml).
const (
	codeNotFound     = "IST0101" // ReferencedResourceNotFound
	codeSchema       = "IST0106" // SchemaValidationError
	codeHostConflict = "IST0109" // ConflictingMeshGatewayVirtualServiceHosts
	codeUnreachable  = "IST0130" // VirtualServiceUnreachableRule
	codeHostNotInGwy = "IST0132" // VirtualServiceHostNotFoundInGateway
	codeUnknownKind  = ""        // istioctl analyze passes over what it does not know
)
