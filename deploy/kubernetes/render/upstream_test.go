package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// The files of platform/ stand in for those of Istio's samples/bookinfo/platform/kube: a tutorial selects their objects
// by label, its tests compare what kubectl prints of them, and other files name their ports, accounts and variables.

// described is an object as far as a tutorial can depend on it.
type described struct {
	Kind     string
	Metadata struct {
		Name, Namespace     string
		Labels, Annotations map[string]string
	}
	Type string            // of a Secret
	Data map[string]string // of a Secret
	Spec struct {
		Type           string
		IPFamilyPolicy string   `json:"ipFamilyPolicy"`
		IPFamilies     []string `json:"ipFamilies"`
		Ports          []struct {
			Name string
			Port int
		}
		Selector any
		Replicas int
		Template *struct {
			Metadata struct{ Labels, Annotations map[string]string }
			Spec     struct {
				ServiceAccountName string
				Containers         []struct {
					Name, Image, ImagePullPolicy string
					Args                         []string
					Ports                        []struct {
						Name          string
						ContainerPort int `json:"containerPort"`
					}
					Env []struct {
						Name, Value string
						ValueFrom   struct {
							SecretKeyRef struct{ Name, Key string } `json:"secretKeyRef"`
						} `json:"valueFrom"`
					}
					SecurityContext any
				}
			}
		}
		Rules []struct {
			HTTP struct {
				Paths []struct {
					Path, PathType string
					Backend        struct {
						Service struct {
							Name string
							Port struct{ Number int }
						}
					}
				}
			}
		}
		DNSNames   []string `json:"dnsNames"`
		SecretName string   `json:"secretName"`
	}
}

func pairs(m map[string]string) string {
	var list []string
	for k, v := range m {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// describe writes an object as a line of the table below.
func (d described) describe() string {
	line := strings.ToLower(d.Kind) + "/" + d.Metadata.Name
	if d.Metadata.Namespace != "" {
		line += " in " + d.Metadata.Namespace
	}
	add := func(format string, args ...any) { line += " | " + fmt.Sprintf(format, args...) }
	line += strings.TrimSuffix(" "+pairs(d.Metadata.Labels), " ")
	for _, p := range d.Spec.Ports {
		add("%d %s", p.Port, p.Name)
	}
	if labels, ok := d.Spec.Selector.(map[string]any); ok && d.Kind == "Service" {
		selected := map[string]string{}
		for k, v := range labels {
			selected[k] = fmt.Sprint(v)
		}
		add("to %s", pairs(selected))
	}
	if d.Spec.Type != "" {
		add("%s", d.Spec.Type)
	}
	if d.Spec.IPFamilyPolicy != "" {
		add("%s %s", d.Spec.IPFamilyPolicy, strings.Join(d.Spec.IPFamilies, ","))
	}
	if d.Kind == "Secret" {
		add("%s", pairs(d.Data))
	}
	if len(d.Metadata.Annotations) > 0 {
		add("%s", pairs(d.Metadata.Annotations))
	}
	if pod := d.Spec.Template; pod != nil {
		selector, _ := d.Spec.Selector.(map[string]any)
		if fmt.Sprint(selector["matchLabels"]) != fmt.Sprint(pod.Metadata.Labels) || pairs(pod.Metadata.Labels) != pairs(d.Metadata.Labels) {
			add("selector %v, pods %v", selector["matchLabels"], pod.Metadata.Labels)
		}
		if d.Spec.Replicas != 1 {
			add("%d replicas", d.Spec.Replicas)
		}
		if pod.Spec.ServiceAccountName != "" {
			add("as %s", pod.Spec.ServiceAccountName)
		}
		if len(pod.Metadata.Annotations) > 0 {
			add("%s", pairs(pod.Metadata.Annotations))
		}
		for _, c := range pod.Spec.Containers {
			image, _, _ := strings.Cut(filepath.Base(c.Image), ":")
			add("%s of %s", c.Name, image)
			if c.ImagePullPolicy != "IfNotPresent" {
				add("pull %s", c.ImagePullPolicy)
			}
			for _, p := range c.Ports {
				line += strings.TrimSuffix(fmt.Sprintf(" %d %s", p.ContainerPort, p.Name), " ")
			}
			for _, v := range c.Env {
				switch {
				case v.Name == "DRAIN_DELAY":
				case v.ValueFrom.SecretKeyRef.Name != "":
					line += " " + v.Name + " from " + v.ValueFrom.SecretKeyRef.Name
				default:
					line += " " + v.Name + "=" + v.Value
				}
			}
			if len(c.Args) > 0 {
				line += " " + strings.Join(c.Args, " ")
			}
		}
	}
	for _, rule := range d.Spec.Rules {
		for _, p := range rule.HTTP.Paths {
			add("%s %s to %s:%d", p.PathType, p.Path, p.Backend.Service.Name, p.Backend.Service.Port.Number)
		}
	}
	if len(d.Spec.DNSNames) > 0 {
		add("%s into %s", strings.Join(d.Spec.DNSNames, ","), d.Spec.SecretName)
	}
	return line
}

// upstream is what each file holds, in its order.
const upstream = `
bookinfo.yaml
service/details app=details service=details | 9080 http | to app=details
serviceaccount/bookinfo-details account=details
deployment/details-v1 app=details version=v1 | as bookinfo-details | details of examples-bookinfo-details-v1 9080
service/ratings app=ratings service=ratings | 9080 http | to app=ratings
serviceaccount/bookinfo-ratings account=ratings
deployment/ratings-v1 app=ratings version=v1 | as bookinfo-ratings | ratings of examples-bookinfo-ratings-v1 9080
service/reviews app=reviews service=reviews | 9080 http | to app=reviews
serviceaccount/bookinfo-reviews account=reviews
deployment/reviews-v1 app=reviews version=v1 | as bookinfo-reviews | reviews of examples-bookinfo-reviews-v1 9080
deployment/reviews-v2 app=reviews version=v2 | as bookinfo-reviews | reviews of examples-bookinfo-reviews-v2 9080
deployment/reviews-v3 app=reviews version=v3 | as bookinfo-reviews | reviews of examples-bookinfo-reviews-v3 9080
service/productpage app=productpage service=productpage | 9080 http | to app=productpage
serviceaccount/bookinfo-productpage account=productpage
deployment/productpage-v1 app=productpage version=v1 | as bookinfo-productpage | prometheus.io/path=/metrics prometheus.io/port=9080 prometheus.io/scrape=true | productpage of examples-bookinfo-productpage-v1 9080

bookinfo-dualstack.yaml
service/details app=details service=details | 9080 http | to app=details | RequireDualStack IPv6,IPv4
serviceaccount/bookinfo-details account=details
deployment/details-v1 app=details version=v1 | as bookinfo-details | details of examples-bookinfo-details-v1 9080
service/ratings app=ratings service=ratings | 9080 http | to app=ratings | RequireDualStack IPv6,IPv4
serviceaccount/bookinfo-ratings account=ratings
deployment/ratings-v1 app=ratings version=v1 | as bookinfo-ratings | ratings of examples-bookinfo-ratings-v1 9080
service/reviews app=reviews service=reviews | 9080 http | to app=reviews | RequireDualStack IPv4,IPv6
serviceaccount/bookinfo-reviews account=reviews
deployment/reviews-v1 app=reviews version=v1 | as bookinfo-reviews | reviews of examples-bookinfo-reviews-v1 9080
deployment/reviews-v2 app=reviews version=v2 | as bookinfo-reviews | reviews of examples-bookinfo-reviews-v2 9080
deployment/reviews-v3 app=reviews version=v3 | as bookinfo-reviews | reviews of examples-bookinfo-reviews-v3 9080
service/productpage app=productpage service=productpage | 9080 http | to app=productpage | RequireDualStack IPv4,IPv6
serviceaccount/bookinfo-productpage account=productpage
deployment/productpage-v1 app=productpage version=v1 | as bookinfo-productpage | prometheus.io/path=/metrics prometheus.io/port=9080 prometheus.io/scrape=true | productpage of examples-bookinfo-productpage-v1 9080

bookinfo-versions.yaml
service/reviews-v1 | 9080 http | to app=reviews version=v1
service/reviews-v2 | 9080 http | to app=reviews version=v2
service/reviews-v3 | 9080 http | to app=reviews version=v3
service/productpage-v1 | 9080 http | to app=productpage version=v1
service/ratings-v1 | 9080 http | to app=ratings version=v1
service/details-v1 | 9080 http | to app=details version=v1

bookinfo-details.yaml
service/details app=details service=details | 9080 http | to app=details
deployment/details-v1 app=details version=v1 | details of examples-bookinfo-details-v1 9080

bookinfo-details-dualstack.yaml
service/details app=details service=details | 9080 http | to app=details | RequireDualStack IPv6,IPv4
deployment/details-v1 app=details version=v1 | details of examples-bookinfo-details-v1 9080

bookinfo-ratings.yaml
service/ratings app=ratings service=ratings | 9080 http | to app=ratings
deployment/ratings-v1 app=ratings version=v1 | ratings of examples-bookinfo-ratings-v1 9080

bookinfo-ratings-dualstack.yaml
service/ratings app=ratings service=ratings | 9080 http | to app=ratings | RequireDualStack IPv6,IPv4
deployment/ratings-v1 app=ratings version=v1 | ratings of examples-bookinfo-ratings-v1 9080

bookinfo-reviews-v2.yaml
deployment/reviews-v2 app=reviews version=v2 | reviews of examples-bookinfo-reviews-v2 9080

bookinfo-ratings-discovery.yaml
service/ratings app=ratings service=ratings | 9080 http | to app=ratings

bookinfo-ratings-discovery-dualstack.yaml
service/ratings app=ratings service=ratings | 9080 http | to app=ratings | RequireDualStack IPv6,IPv4

bookinfo-details-v2.yaml
deployment/details-v2 app=details version=v2 | details of examples-bookinfo-details-v2 9080 DO_NOT_ENCRYPT=true

bookinfo-ratings-v2.yaml
serviceaccount/bookinfo-ratings-v2
deployment/ratings-v2 app=ratings version=v2 | as bookinfo-ratings-v2 | ratings of examples-bookinfo-ratings-v2 9080 MONGO_DB_URL=mongodb://mongodb:27017/test

bookinfo-ratings-v2-mysql.yaml
deployment/ratings-v2-mysql app=ratings version=v2-mysql | ratings of examples-bookinfo-ratings-v2 9080 DB_TYPE=mysql MYSQL_DB_HOST=mysqldb MYSQL_DB_PORT=3306 MYSQL_DB_USER=root MYSQL_DB_PASSWORD=password

bookinfo-ratings-v2-mysql-vm.yaml
deployment/ratings-v2-mysql-vm app=ratings version=v2-mysql-vm | ratings of examples-bookinfo-ratings-v2 9080 DB_TYPE=mysql MYSQL_DB_HOST=mysqldb.vm.svc.cluster.local MYSQL_DB_PORT=3306 MYSQL_DB_USER=root MYSQL_DB_PASSWORD=password

bookinfo-db.yaml
service/mongodb app=mongodb service=mongodb | 27017 mongo | to app=mongodb
deployment/mongodb-v1 app=mongodb version=v1 | mongodb of mongo 27017 --ipv6 --bind_ip_all

bookinfo-mysql.yaml
secret/mysql-credentials | rootpasswd=cGFzc3dvcmQ=
service/mysqldb app=mysqldb service=mysqldb | 3306 tcp | to app=mysqldb
deployment/mysqldb-v1 app=mysqldb version=v1 | mysqldb of mysql 3306 MYSQL_ROOT_PASSWORD from mysql-credentials

bookinfo-ingress.yaml
ingress/gateway | kubernetes.io/ingress.class=istio | Exact /productpage to productpage:9080 | Prefix /static/ to productpage:9080 | Exact /login to productpage:9080 | Exact /logout to productpage:9080 | Prefix /api/v1/products to productpage:9080

productpage-nodeport.yaml
service/productpage app=productpage service=productpage | 9080 http | to app=productpage | NodePort

bookinfo-certificate.yaml
clusterissuer/letsencrypt-staging
certificate/istio-ingressgateway-certs in istio-system | bookinfo.example.com into istio-ingressgateway-certs
`

// TestEveryFileHoldsWhatTutorialsExpect: names, labels, ports, selectors, accounts, variables, order and number.
func TestEveryFileHoldsWhatTutorialsExpect(t *testing.T) {
	want := map[string][]string{}
	for _, part := range strings.Split(strings.TrimSpace(upstream), "\n\n") {
		lines := strings.Split(part, "\n")
		want[lines[0]] = lines[1:]
	}
	want["bookinfo-psa.yaml"] = want["bookinfo.yaml"]
	files, err := filepath.Glob(filepath.Join(root, "platform", "*.yaml"))
	if err != nil || len(files) != len(want) {
		t.Errorf("%d files (%v), the table has %d", len(files), err, len(want))
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, doc := range strings.Split(string(data), "\n---\n") {
			var d described
			if err := yaml.Unmarshal([]byte(doc), &d); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			got = append(got, d.describe())
			if pod := d.Spec.Template; pod != nil && filepath.Base(file) == "bookinfo-psa.yaml" {
				const restricted = "map[allowPrivilegeEscalation:false capabilities:map[drop:[ALL]] runAsNonRoot:true]"
				if got := fmt.Sprint(pod.Spec.Containers[0].SecurityContext); got != restricted {
					t.Errorf("%s %s: securityContext %s", file, d.Metadata.Name, got)
				}
			}
		}
		if diff := cmp.Diff(want[filepath.Base(file)], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", filepath.Base(file), diff)
		}
	}
}
