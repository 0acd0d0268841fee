package mesh

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// schemaCheck compares a document with the type that it will be read into, as the API server does with a CRD's schema:
// unknown fields, wrong types, unknown enum values, two members of a choice. The decoders alone would pass over some
// of these, stop at the first, and know no line.
type schemaCheck struct {
	report func(warning bool, line int, field, message string)
	acted  map[string]string
}

// check dispatches on the kind of type: Istio's are protobuf messages, Gateway API's are structs.
func (c *schemaCheck) check(node *yaml.Node, spec any, path string) {
	if message, ok := spec.(proto.Message); ok {
		c.message(node, message.ProtoReflect().Descriptor(), path)
		return
	}
	c.goType(node, reflect.TypeOf(spec).Elem(), path)
}

func (c *schemaCheck) errorf(line int, field, format string, args ...any) {
	c.report(false, line, field, fmt.Sprintf(format, args...))
}

func (c *schemaCheck) wrongType(node *yaml.Node, path, want string) {
	if node.Kind == yaml.ScalarNode {
		c.errorf(node.Line, path, "Invalid value %q: must be of type %s, is %s", node.Value, want, typeName(node))
		return
	}
	c.errorf(node.Line, path, "Invalid value: must be of type %s, is %s", want, typeName(node))
}

func (c *schemaCheck) unknown(line int, path, key string, known []string) {
	message := fmt.Sprintf("unknown field %q", key)
	if near := nearest(key, known); near != "" {
		message += fmt.Sprintf(", did you mean %q?", near)
	} else {
		slices.Sort(known)
		message += "; known here: " + strings.Join(known, ", ")
	}
	c.errorf(line, join(path, key), "%s", message)
}

// warnUnless warns of a known field which the stand-in does not act on.
func (c *schemaCheck) warnUnless(typeName, field string, line int, path string) {
	acted, ok := c.acted[typeName]
	if !ok || acted == "*" || slices.Contains(strings.Fields(acted), field) {
		return
	}
	c.report(true, line, path, "the local mesh does not act on this field; the rest of the resource is applied")
}

func (c *schemaCheck) message(node *yaml.Node, md protoreflect.MessageDescriptor, path string) {
	if c.wellKnown(node, md, path) {
		return
	}
	if node.Kind != yaml.MappingNode {
		c.wrongType(node, path, "object")
		return
	}
	fields := md.Fields()
	chosen := make(map[protoreflect.FullName]string)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field := fields.ByJSONName(key.Value)
		if field == nil {
			known := make([]string, fields.Len())
			for j := range known {
				known[j] = fields.Get(j).JSONName()
			}
			c.unknown(key.Line, path, key.Value, known)
			continue
		}
		if isNull(value) {
			continue
		}
		at := join(path, key.Value)
		if choice := field.ContainingOneof(); choice != nil && !choice.IsSynthetic() {
			if other, ok := chosen[choice.FullName()]; ok {
				c.errorf(key.Line, at, "only one of %s and %s may be set", other, key.Value)
			}
			chosen[choice.FullName()] = key.Value
		}
		c.warnUnless(string(md.FullName()), key.Value, key.Line, at)
		c.field(value, field, at)
	}
}

func (c *schemaCheck) field(node *yaml.Node, field protoreflect.FieldDescriptor, path string) {
	switch {
	case field.IsMap():
		if node.Kind != yaml.MappingNode {
			c.wrongType(node, path, "object")
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if at := path + "." + node.Content[i].Value; isNull(node.Content[i+1]) {
				c.errorf(node.Content[i].Line, at, "Invalid value: null")
			} else {
				c.single(node.Content[i+1], field.MapValue(), at)
			}
		}
	case field.IsList():
		if node.Kind != yaml.SequenceNode {
			c.wrongType(node, path, "array")
			return
		}
		for i, item := range node.Content {
			if at := fmt.Sprintf("%s[%d]", path, i); isNull(item) {
				c.errorf(item.Line, at, "Invalid value: null")
			} else {
				c.single(item, field, at)
			}
		}
	default:
		c.single(node, field, path)
	}
}

func (c *schemaCheck) single(node *yaml.Node, field protoreflect.FieldDescriptor, path string) {
	switch kind := field.Kind(); kind {
	case protoreflect.MessageKind:
		c.message(node, field.Message(), path)
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		if node.Kind == yaml.ScalarNode && typeName(node) == "string" && values.ByName(protoreflect.Name(node.Value)) != nil {
			return
		}
		var known []string
		for i := range values.Len() {
			known = append(known, string(values.Get(i).Name()))
		}
		c.errorf(node.Line, path, "Unsupported value: %q: supported values: %s", node.Value, strings.Join(known, ", "))
	default:
		c.scalar(node, path, kindName(kind), kind == protoreflect.Uint32Kind || kind == protoreflect.Uint64Kind, bits(kind))
	}
}

func kindName(kind protoreflect.Kind) string {
	switch kind {
	case protoreflect.StringKind, protoreflect.BytesKind:
		return "string"
	case protoreflect.BoolKind:
		return "boolean"
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return "number"
	}
	return "integer"
}

func bits(kind protoreflect.Kind) int {
	if kind == protoreflect.Int64Kind || kind == protoreflect.Uint64Kind {
		return 64
	}
	return 32
}

func (c *schemaCheck) scalar(node *yaml.Node, path, want string, unsigned bool, bits int) {
	have := typeName(node)
	if node.Kind != yaml.ScalarNode || have != want && !(want == "number" && have == "integer") {
		c.wrongType(node, path, want)
		return
	}
	if want != "integer" {
		return
	}
	if unsigned {
		if _, err := strconv.ParseUint(node.Value, 0, bits); err != nil {
			c.errorf(node.Line, path, "Invalid value %q: must be a whole number from 0 to %d", node.Value, uint64(1)<<bits-1)
		}
		return
	}
	if _, err := strconv.ParseInt(node.Value, 0, bits); err != nil {
		c.errorf(node.Line, path, "Invalid value %q: must be a whole number of %d bits", node.Value, bits)
	}
}

// wellKnown checks the messages that JSON writes as something else than an object.
func (c *schemaCheck) wellKnown(node *yaml.Node, md protoreflect.MessageDescriptor, path string) bool {
	if md.ParentFile().Package() != "google.protobuf" {
		return false
	}
	switch name := md.Name(); name {
	case "Duration":
		if typeName(node) != "string" {
			c.wrongType(node, path, "string")
		} else if d, err := time.ParseDuration(node.Value); err != nil || d < 0 {
			c.errorf(node.Line, path, "Invalid value %q: must be a duration such as 7s, 0.5s or 100ms", node.Value)
		}
	case "Struct":
		if node.Kind != yaml.MappingNode {
			c.wrongType(node, path, "object")
		}
	case "Value", "Any", "ListValue":
	case "Timestamp":
		c.scalar(node, path, "string", false, 64)
	default:
		value := md.Fields().ByName("value")
		if value == nil {
			return false
		}
		c.single(node, value, path)
	}
	return true
}

// goType checks a struct by its json tags.
func (c *schemaCheck) goType(node *yaml.Node, t reflect.Type, path string) {
	switch t.Kind() {
	case reflect.Pointer:
		c.goType(node, t.Elem(), path)
	case reflect.String:
		c.scalar(node, path, "string", false, 64)
	case reflect.Bool:
		c.scalar(node, path, "boolean", false, 64)
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Int16:
		c.scalar(node, path, "integer", false, t.Bits())
	case reflect.Slice:
		if node.Kind != yaml.SequenceNode {
			c.wrongType(node, path, "array")
			return
		}
		for i, item := range node.Content {
			c.goType(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		if node.Kind != yaml.MappingNode {
			c.wrongType(node, path, "object")
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			c.goType(node.Content[i+1], t.Elem(), path+"."+node.Content[i].Value)
		}
	case reflect.Struct:
		c.goStruct(node, t, path)
	}
}

func (c *schemaCheck) goStruct(node *yaml.Node, t reflect.Type, path string) {
	if node.Kind != yaml.MappingNode {
		c.wrongType(node, path, "object")
		return
	}
	fields := jsonFields(t)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field, ok := fields[key.Value]
		if !ok {
			c.unknown(key.Line, path, key.Value, slices.Collect(maps.Keys(fields)))
			continue
		}
		if isNull(value) {
			continue
		}
		at := join(path, key.Value)
		c.warnUnless(t.Name(), key.Value, key.Line, at)
		c.goType(value, field, at)
	}
}

// jsonFields lists the fields of a struct and of those embedded in it by their JSON names.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type)
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case name == "" && field.Anonymous:
			maps.Copy(fields, jsonFields(field.Type))
		case name != "":
			fields[name] = field.Type
		}
	}
	return fields
}

// nearest returns the known word that a slip of the fingers away from key, "" if none is.
func nearest(key string, known []string) string {
	best, distance := "", 3
	for _, word := range known {
		if d := editDistance(strings.ToLower(key), strings.ToLower(word)); d < distance && d < len(word) {
			best, distance = word, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return len(a) + len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost++
			}
			previous = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
