package mesh

import (
	"encoding/json"
	"time"
)

// object is a resource as the API server would give it back.
type object struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Metadata   metadata        `json:"metadata"`
	Spec       json.RawMessage `json:"spec,omitempty"`
}

type metadata struct {
	Annotations       map[string]string `json:"annotations,omitempty"`
	CreationTimestamp time.Time         `json:"creationTimestamp,omitzero"`
	Generation        int64             `json:"generation,omitempty"`
	Labels            map[string]string `json:"labels,omitempty"`
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
}

// MarshalJSON writes the resource as an object with apiVersion, kind, metadata and spec.
func (r *Resource) MarshalJSON() ([]byte, error) {
	return json.Marshal(object{
		APIVersion: r.APIVersion, Kind: r.Kind.Name, Spec: r.SpecJSON,
		Metadata: metadata{r.Annotations, r.Created.UTC().Truncate(time.Second), r.Generation, r.Labels, r.Name, r.Namespace},
	})
}

// UnmarshalJSON reads what MarshalJSON wrote, without the typed spec.
func (r *Resource) UnmarshalJSON(data []byte) error {
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return err
	}
	*r = Resource{
		APIVersion: o.APIVersion, Name: o.Metadata.Name, Namespace: o.Metadata.Namespace, Labels: o.Metadata.Labels,
		Annotations: o.Metadata.Annotations, Created: o.Metadata.CreationTimestamp, Generation: o.Metadata.Generation, SpecJSON: o.Spec,
	}
	for _, kind := range Kinds() {
		for _, version := range kind.Versions {
			if kind.Name == o.Kind && kind.Group+"/"+version == o.APIVersion {
				r.Kind = kind
			}
		}
	}
	return nil
}

// Resource returns the resource with that key, nil if there is none.
func (s *Snapshot) Resource(key Key) *Resource {
	for _, r := range s.Resources {
		if r.Key() == key {
			return r
		}
	}
	return nil
}
