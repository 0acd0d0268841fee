package mesh

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// Limits of one file. They are far above any real file and stop one that was made to exhaust memory: aliases that are
// expanded again and again, or nesting without end.
const (
	maxNodes = 2_000_000
	maxDepth = 64
)

// tree makes a plain tree of a YAML document: aliases and merge keys are replaced by what they stand for, a repeated
// key is a problem. Lines stay those of the file.
type tree struct {
	nodes  int
	report func(line int, field, message string)
}

func (t *tree) expand(node *yaml.Node, path string, depth int) *yaml.Node {
	t.nodes++
	if t.nodes > maxNodes || depth > maxDepth {
		if t.nodes <= maxNodes+1 {
			t.report(node.Line, path, "the document is too large or too deeply nested")
			t.nodes = maxNodes + 2
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: node.Line}
	}
	switch node.Kind {
	case yaml.AliasNode:
		return t.expand(node.Alias, path, depth+1)
	case yaml.SequenceNode:
		out := &yaml.Node{Kind: node.Kind, Tag: node.Tag, Line: node.Line}
		for i, item := range node.Content {
			out.Content = append(out.Content, t.expand(item, path+"["+strconv.Itoa(i)+"]", depth+1))
		}
		return out
	case yaml.MappingNode:
		out := &yaml.Node{Kind: node.Kind, Tag: node.Tag, Line: node.Line}
		seen := make(map[string]int, len(node.Content)/2)
		var merged []*yaml.Node
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if key.Kind != yaml.ScalarNode {
				t.report(key.Line, path, "a key must be a plain word")
				continue
			}
			if key.Tag == "!!merge" {
				merged = append(merged, t.expand(value, path, depth+1))
				continue
			}
			if line, ok := seen[key.Value]; ok {
				t.report(key.Line, join(path, key.Value), fmt.Sprintf("the key is already set at line %d", line))
				continue
			}
			seen[key.Value] = key.Line
			out.Content = append(out.Content, key, t.expand(value, join(path, key.Value), depth+1))
		}
		for _, from := range merged {
			maps := []*yaml.Node{from}
			if from.Kind == yaml.SequenceNode {
				maps = from.Content
			}
			for _, m := range maps {
				for i := 0; m.Kind == yaml.MappingNode && i+1 < len(m.Content); i += 2 {
					if _, ok := seen[m.Content[i].Value]; !ok {
						seen[m.Content[i].Value] = m.Content[i].Line
						out.Content = append(out.Content, m.Content[i], m.Content[i+1])
					}
				}
			}
		}
		return out
	}
	return node
}

// child returns the value of a key of a mapping, nil if it is absent or null.
func child(node *yaml.Node, key string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			if isNull(node.Content[i+1]) {
				return nil
			}
			return node.Content[i+1]
		}
	}
	return nil
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// typeName is what a JSON schema calls the node's type.
func typeName(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "object"
	case yaml.SequenceNode:
		return "array"
	}
	switch node.Tag {
	case "!!int":
		return "integer"
	case "!!float":
		return "number"
	case "!!bool":
		return "boolean"
	case "!!null":
		return "null"
	}
	return "string"
}

// toJSON writes the node as JSON with sorted keys; nulls are left out of mappings, as an absent field.
func toJSON(node *yaml.Node) ([]byte, error) {
	value, err := generic(node)
	if err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

func generic(node *yaml.Node) (any, error) {
	switch node.Kind {
	case yaml.MappingNode:
		out := make(map[string]any, len(node.Content)/2)
		for i := 0; i+1 < len(node.Content); i += 2 {
			if isNull(node.Content[i+1]) {
				continue
			}
			value, err := generic(node.Content[i+1])
			if err != nil {
				return nil, err
			}
			out[node.Content[i].Value] = value
		}
		return out, nil
	case yaml.SequenceNode:
		out := make([]any, 0, len(node.Content))
		for _, item := range node.Content {
			value, err := generic(item)
			if err != nil {
				return nil, err
			}
			out = append(out, value)
		}
		return out, nil
	}
	switch node.Tag {
	case "!!int", "!!float", "!!bool":
		var value any
		if err := node.Decode(&value); err != nil {
			return nil, err
		}
		return value, nil
	case "!!null":
		return nil, nil
	}
	return node.Value, nil
}

// lineOf finds the line of a field path like "spec.http[0].match[1].uri", or of the nearest thing around it that is
// there.
func lineOf(node *yaml.Node, path string) int {
	line := node.Line
	for path != "" && node != nil {
		var step string
		end := strings.IndexAny(path[1:], ".[")
		if end < 0 {
			step, path = path, ""
		} else {
			step, path = path[:end+1], path[end+1:]
		}
		step = strings.TrimPrefix(step, ".")
		var next *yaml.Node
		if index, ok := strings.CutPrefix(step, "["); ok {
			i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
			if err != nil || node.Kind != yaml.SequenceNode || i >= len(node.Content) {
				return line
			}
			next = node.Content[i]
			line = next.Line
		} else {
			for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
				if node.Content[i].Value == step {
					next = node.Content[i+1]
					line = node.Content[i].Line
				}
			}
		}
		node = next
	}
	return line
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
