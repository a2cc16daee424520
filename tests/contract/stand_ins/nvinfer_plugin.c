/* The entry point of the plugin library that TensorRT's Python binding links to. */
int initLibNvInferPlugins(void *logger, const char *name_space) { return 0; }
