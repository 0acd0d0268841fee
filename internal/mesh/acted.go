package mesh

// actedFields lists, by message or struct, the fields that the local mesh acts on. A field that is known but not listed
// is warned of; a type that is not listed here is acted on as a whole.
func actedFields() map[string]string {
	const n = "istio.networking.v1alpha3."
	return map[string]string{
		n + "VirtualService":                                   "hosts gateways http exportTo",
		n + "HTTPMatchRequest":                                 "name uri scheme method authority headers port sourceLabels gateways queryParams ignoreUriCase withoutHeaders sourceNamespace",
		n + "HTTPRetry":                                        "attempts perTryTimeout retryOn retryIgnorePreviousHosts backoff",
		n + "HTTPFaultInjection.Delay":                         "fixedDelay percentage percent",
		n + "HTTPFaultInjection.Abort":                         "httpStatus percentage",
		n + "DestinationRule":                                  "host trafficPolicy subsets exportTo workloadSelector",
		n + "TrafficPolicy":                                    "loadBalancer connectionPool outlierDetection tls portLevelSettings",
		n + "LoadBalancerSettings":                             "simple consistentHash",
		n + "ConnectionPoolSettings.TCPSettings":               "maxConnections connectTimeout idleTimeout",
		n + "ConnectionPoolSettings.HTTPSettings":              "http1MaxPendingRequests http2MaxRequests maxRequestsPerConnection maxRetries idleTimeout",
		n + "OutlierDetection":                                 "consecutiveGatewayErrors consecutive5xxErrors interval baseEjectionTime maxEjectionPercent minHealthPercent",
		n + "ClientTLSSettings":                                "mode sni insecureSkipVerify",
		n + "LoadBalancerSettings.ConsistentHashLB.HTTPCookie": "name path ttl",
		n + "Server":                                           "port hosts name tls",
		n + "ServerTLSSettings":                                "httpsRedirect",
		n + "ServiceEntry":                                     "hosts addresses ports location resolution endpoints workloadSelector exportTo",
		n + "WorkloadEntry":                                    "address ports labels weight",

		"istio.telemetry.v1alpha1.Telemetry":         "selector tracing",
		"istio.telemetry.v1alpha1.Tracing":           "match providers randomSamplingPercentage disableSpanReporting customTags",
		"istio.telemetry.v1alpha1.Tracing.CustomTag": "literal environment header",

		"istio.security.v1beta1.AuthorizationPolicy": "selector rules action",
		"istio.security.v1beta1.Source":              "principals notPrincipals namespaces notNamespaces serviceAccounts notServiceAccounts ipBlocks notIpBlocks",

		"GatewaySpec":               "gatewayClassName listeners",
		"Listener":                  "name hostname port protocol allowedRoutes",
		"HTTPRouteRule":             "name matches filters backendRefs timeouts retry",
		"HTTPRouteRetry":            "codes attempts backoff",
		"HTTPURLRewriteFilter":      "*",
		"HTTPRequestMirrorFilter":   "*",
		"HTTPCORSFilter":            "*",
		"HTTPRequestRedirectFilter": "*",
	}
}
