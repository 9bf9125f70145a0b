package main

import (
	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/gateways/s3"
)

// protocolFlags are flags of gateways that concern the protocol alone.
func protocolFlags(cmd *cobra.Command, o *s3.Options) {
	cmd.Flags().BoolVar(&o.SigV2, "sigv2", false, "also take requests signed with the older, weaker Signature Version 2")
	cmd.Flags().StringSliceVar(&o.WebsiteDomains, "website-domain", nil, "base domains of websites, BUCKET.DOMAIN (s3-website.DOMAIN of each --domain is one)")
}
