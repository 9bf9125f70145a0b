package conformance

// misaddressed are requests that mix up what they are about.
var misaddressed = []row{
	{"ListMultipartUploads/WithKey", func(c *C) { c.do("GET", "/"+c.bucket()+"/k?uploads").err(400, "InvalidRequest") }},
	{"ListObjectVersions/WithKey", func(c *C) { c.do("GET", "/"+c.bucket()+"/k?versions", anon).err(400, "InvalidRequest") }},
	{"UploadPart/NoUploadId", func(c *C) {
		c.do("PUT", "/"+c.bucket()+"/k?partNumber=1", body("x")).err(400, "InvalidArgument").x("ArgumentName", "partNumber")
	}},
}
