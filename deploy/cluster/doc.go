// Package cluster tests the files under deploy on a real Kubernetes with a real Istio: `make test-cluster`, with
// KUBECONFIG naming the cluster. It brings no cluster up. docs/kubernetes.md says what the cluster must have.
package cluster
