#!/bin/bash
# Removes Bookinfo and every route and policy from a namespace: NAMESPACE, or what is typed, or "default".
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [[ -z ${NAMESPACE-} ]]; then
  if [[ -t 0 ]]; then
    read -rp "namespace ? [default] " NAMESPACE
  fi
  NAMESPACE=${NAMESPACE:-default}
fi
echo "using NAMESPACE=${NAMESPACE}"

remove_all() {
  kubectl delete -n "$NAMESPACE" --ignore-not-found --all "$1"
}

for kind in destinationrules virtualservices gateways.networking.istio.io authorizationpolicies; do
  if kubectl api-resources -o name | grep -q "^${kind%%.*}\..*istio\.io$"; then
    remove_all "$kind"
  fi
done

if kubectl get crd gateways.gateway.networking.k8s.io >/dev/null 2>&1; then
  remove_all httproutes.gateway.networking.k8s.io
  remove_all gateways.gateway.networking.k8s.io
  kubectl delete -n "$NAMESPACE" --ignore-not-found -f "$here/bookinfo-versions.yaml"
fi

kubectl delete -n "$NAMESPACE" --ignore-not-found -f "$here/bookinfo.yaml"

# Pods drain before they go.
kubectl wait -n "$NAMESPACE" --for=delete pod -l 'app in (productpage, details, reviews, ratings)' --timeout=30s >/dev/null 2>&1

echo "Application cleanup successful"
